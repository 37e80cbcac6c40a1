/** Which files make the registries configuration, and what they hold now. */
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";

export interface RegistriesSource {
  /** The only main file, when given. */
  readonly file?: string;
  /** The only directory of drop-in files, when given. */
  readonly dropInDirectory?: string;
  /** For CONTAINERS_REGISTRIES_CONF, XDG_CONFIG_HOME and HOME. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Aliases that podman noted. Default `/var/cache/containers/short-name-aliases.conf`. */
  readonly aliasFile?: string;
}

/** A file that exists, with what tells that it was changed. */
export interface RegistryFile {
  readonly path: string;
  readonly signature: string;
}

const SYSTEM_FILE = "/etc/containers/registries.conf";
const SYSTEM_DIRECTORY = "/etc/containers/registries.conf.d";
const ALIAS_FILE = "/var/cache/containers/short-name-aliases.conf";
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/**
 * The files that exist, in the order in which they are merged (containers-registries.conf(5)): a user's own main file
 * takes the place of the system's with its directory; without one, the user's directory comes after the system's.
 *
 * @throws InvalidArgumentError for a directory or file that cannot be looked at
 */
export async function registryFiles(source: RegistriesSource): Promise<readonly RegistryFile[]> {
  const { environment = {}, aliasFile = ALIAS_FILE } = source;
  const user = `${configHome(environment)}/containers/registries.conf`;
  const chosen = source.file ?? (environment["CONTAINERS_REGISTRIES_CONF"] || undefined);
  const own = chosen === undefined ? await look(user) : undefined;
  const main = own ?? await look(chosen ?? SYSTEM_FILE);
  const directories = source.dropInDirectory !== undefined
    ? [source.dropInDirectory]
    : own === undefined
    ? [SYSTEM_DIRECTORY, `${user}.d`]
    : [`${user}.d`];
  const found = [main];
  for (const directory of directories) {
    for (const path of await dropIns(directory)) found.push(await look(path));
  }
  found.push(await look(aliasFile));
  return found.filter((file) => file !== undefined);
}

/** Where a user keeps configuration; root's home where nothing says another (services of systemd have no HOME). */
export function configHome(environment: Readonly<Record<string, string | undefined>>): string {
  return environment["XDG_CONFIG_HOME"] || `${environment["HOME"] || "/root"}/.config`;
}

/** @throws InvalidArgumentError; a file that is gone is empty */
export async function readRegistryFile({ path }: RegistryFile): Promise<string> {
  try {
    if ((await Deno.stat(path)).size > MAX_FILE_BYTES) {
      throw new InvalidArgumentError(`${path} is larger than ${MAX_FILE_BYTES} bytes`);
    }
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error instanceof InvalidArgumentError ? error : unreadable(path, error);
  }
}

async function look(path: string): Promise<RegistryFile | undefined> {
  try {
    const { ino, size, mtime, ctime } = await Deno.stat(path);
    return { path, signature: [path, ino, size, Number(mtime), Number(ctime)].join(" ") };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw unreadable(path, error);
  }
}

async function dropIns(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (entry.name.endsWith(".conf") && !entry.isDirectory) names.push(entry.name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw unreadable(directory, error);
  }
  return names.sort().map((name) => `${directory}/${name}`);
}

function unreadable(path: string, error: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`read registries configuration ${path}: ${messageOf(error)}`, { cause: error });
}
