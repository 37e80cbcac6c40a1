import { FailedPreconditionError, messageOf } from "../base/errors.ts";
import type { OciMount, OciSpec } from "../oci/spec/types.ts";
import { resolves } from "../linux/exists.ts";

const ZONES = "/usr/share/zoneinfo";
const FIPS_SETTING = "/proc/sys/crypto/fips_enabled";

export interface MarkOptions {
  /** Where files of this container are kept. */
  readonly directory: string;
  /** `timezone` of crio.conf: a zone's name, `Local`, or empty for the image's own. */
  readonly timezone: string;
  /** Shows the container a kernel that does not restrict its cryptography. */
  readonly hidesFips: boolean;
}

/**
 * The specification with small files of the node's: `/run/.containerenv`, by which programs know that they run in a container;
 * the time zone; the kernel's FIPS setting. A volume that lies over one of them stays as it is.
 *
 * @throws FailedPreconditionError for a time zone that this node does not have
 */
export async function withPodMarks(spec: OciSpec, options: MarkOptions): Promise<OciSpec> {
  const { directory, timezone, hidesFips } = options;
  const mounts: OciMount[] = [];
  const add = async (destination: string, file: { name: string; bytes: Uint8Array; access: string }): Promise<void> => {
    if (coversPath(spec.mounts, destination)) return;
    const source = `${directory}/${file.name}`;
    await Deno.writeFile(source, file.bytes, { mode: 0o644 });
    mounts.push({ destination, type: "bind", source, options: ["bind", "nodev", "nosuid", "noexec", file.access] });
  };
  const access = spec.root.readonly === true ? "ro" : "rw";
  await add("/run/.containerenv", { name: ".containerenv", bytes: new Uint8Array(), access });
  if (timezone !== "") await add("/etc/localtime", { name: "localtime", bytes: await zone(timezone), access: "ro" });
  if (hidesFips && await resolves(FIPS_SETTING)) {
    await add(FIPS_SETTING, { name: "fips-enabled", bytes: new TextEncoder().encode("0\n"), access: "ro" });
  }
  return { ...spec, mounts: [...spec.mounts, ...mounts] };
}

/** Whether a bind mount lies over a path or over one of its parents; the root's own mount does not count. */
export function coversPath(mounts: readonly OciMount[], path: string): boolean {
  return mounts.some(({ type, destination }) => {
    return type === "bind" && destination !== "/" && (path === destination || path.startsWith(`${destination}/`));
  });
}

async function zone(name: string): Promise<Uint8Array> {
  const path = name.toLowerCase() === "local" ? "/etc/localtime" : `${ZONES}/${name}`;
  try {
    if (name.split("/").includes("..")) throw new Error("it leads out of the directory");
    return await Deno.readFile(path);
  } catch (error) {
    throw new FailedPreconditionError(
      `timezone ${JSON.stringify(name)} of crio.conf: ${path} cannot be read: ${messageOf(error)}; install tzdata or ` +
        "name another zone",
    );
  }
}
