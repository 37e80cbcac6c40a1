import { InvalidArgumentError } from "../base/errors.ts";
import type { OciMount, OciSpec } from "../oci/spec/types.ts";
import { coversPath } from "./pod_marks.ts";
import type { AccountFiles, ResolvedUser } from "./user.ts";

/** What fields of passwd(5) cannot hold: the end of a line would begin another user. */
// deno-lint-ignore no-control-regex -- control characters are what this looks for
const NOT_IN_A_FIELD = /[\x00-\x1f\x7f]/;

export interface AccountOptions {
  /** The image's files. */
  readonly files: AccountFiles;
  readonly user: ResolvedUser;
  /** Where files of this container are kept. */
  readonly directory: string;
  /** Of the files: root as the container knows it. Default: the node's. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/**
 * The specification with a home directory in the environment, and with account files that know the container's user and
 * group where the image's do not: programs ask for the name of the user that they run as. An image without account files
 * stays without, and so does one over whose files a volume lies.
 *
 * @throws InvalidArgumentError for a home directory that would break out of its line
 */
export async function withAccountFiles(spec: OciSpec, options: AccountOptions): Promise<OciSpec> {
  const { files, user, directory, owner } = options;
  const given = spec.process.env.find((line) => line.startsWith("HOME="))?.slice("HOME=".length);
  if (given !== undefined && NOT_IN_A_FIELD.test(given)) {
    throw new InvalidArgumentError(`the environment's HOME ${JSON.stringify(given)} contains a control character`);
  }
  const home = given ?? (user.known || NOT_IN_A_FIELD.test(spec.process.cwd) ? user.home : spec.process.cwd);
  const mounts: OciMount[] = [];
  const add = async (name: "passwd" | "group", text: string | undefined): Promise<void> => {
    const destination = `/etc/${name}`;
    if (text === undefined || coversPath(spec.mounts, destination)) return;
    const source = `${directory}/${name}`;
    await Deno.writeTextFile(source, text, { mode: 0o644 });
    if (owner !== undefined) await Deno.chown(source, owner.uid, owner.gid);
    const access = spec.root.readonly === true ? "ro" : "rw";
    mounts.push({ destination, type: "bind", source, options: ["bind", "nodev", "nosuid", "noexec", access] });
  };
  await Promise.all([
    add("passwd", passwdWith(files.passwd, { ...user, home: home.includes(":") ? "/" : home })),
    add("group", groupWith(files.group, user.gid)),
  ]);
  const env = given === undefined ? [...spec.process.env, `HOME=${home}`] : spec.process.env;
  return { ...spec, process: { ...spec.process, env }, mounts: [...spec.mounts, ...mounts] };
}

/** The text with an entry for this user; undefined where none is needed, or the image has no such file. */
export function passwdWith(
  text: string,
  user: { readonly uid: number; readonly gid: number; readonly home: string; readonly known: boolean },
): string | undefined {
  if (text === "" || user.known) return undefined;
  const { uid, gid, home } = user;
  return `${lines(text)}${uid}:x:${uid}:${gid}:${uid} user:${home}:/sbin/nologin\n`;
}

/** The text with an entry for this group; undefined where none is needed, or the image has no such file. */
export function groupWith(text: string, gid: number): string | undefined {
  if (text === "" || text.split("\n").some((line) => line.split(":")[2] === String(gid))) return undefined;
  return `${lines(text)}${gid}:x:${gid}:\n`;
}

function lines(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}
