/** Which files make the registries configuration, and what they hold now. */
import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { configHome } from "../config_home.ts";

export interface RegistriesSource {
  /** The only main file, when given. */
  readonly file?: string;
  /** The only directory of drop-in files, when given. */
  readonly dropInDirectory?: string;
  /** For CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_CONF_OVERRIDE, XDG_CONFIG_HOME and HOME. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Aliases that podman noted. Default `/var/cache/containers/short-name-aliases.conf`. */
  readonly aliasFile?: string;
  /** The vendor's and the administrator's directory. Default `/usr/share/containers` and `/etc/containers`. */
  readonly systemDirectories?: readonly string[];
}

/** A file that exists, with what tells that it was changed. */
export interface RegistryFile {
  readonly path: string;
  readonly signature: string;
}

const SYSTEM_DIRECTORIES = ["/usr/share/containers", "/etc/containers"];
const ALIAS_FILE = "/var/cache/containers/short-name-aliases.conf";
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/**
 * The files that exist, in the order in which they are merged (containers-config(5)): one main file, the user's before the
 * administrator's before the vendor's; then the drop-in files of all directories by name, of one name the user's before
 * the administrator's before the vendor's. A main file that the environment names stands alone.
 *
 * @throws InvalidArgumentError for a directory or file that cannot be looked at, and for one that is named and not there
 */
export async function registryFiles(source: RegistriesSource): Promise<readonly RegistryFile[]> {
  const { environment = {}, aliasFile = ALIAS_FILE, systemDirectories = SYSTEM_DIRECTORIES } = source;
  const places = [...systemDirectories, `${configHome(environment)}/containers`];
  const named = source.file === undefined ? environment["CONTAINERS_REGISTRIES_CONF"] || undefined : undefined;
  const override = environment["CONTAINERS_REGISTRIES_CONF_OVERRIDE"] || undefined;
  const found: (RegistryFile | undefined)[] = [
    named === undefined
      ? await firstOf(source.file === undefined ? mainFiles(places) : [source.file])
      : await existing(named),
  ];
  if (named === undefined || source.dropInDirectory !== undefined) {
    const directories = source.dropInDirectory === undefined ? dropInDirectories(places) : [source.dropInDirectory];
    for (const path of await dropIns(directories)) found.push(await look(path));
  }
  if (override !== undefined) found.push(await existing(override));
  found.push(await look(aliasFile));
  return found.filter((file) => file !== undefined);
}

function mainFiles(places: readonly string[]): readonly string[] {
  return places.map((place) => `${place}/registries.conf`).reverse();
}

/** Users have no directory for root alone. */
function dropInDirectories(places: readonly string[]): readonly string[] {
  return places.flatMap((place, i) => [
    `${place}/registries.conf.d`,
    ...(i + 1 < places.length ? [`${place}/registries.rootful.conf.d`] : []),
  ]);
}

async function firstOf(paths: readonly string[]): Promise<RegistryFile | undefined> {
  for (const path of paths) {
    const file = await look(path);
    if (file !== undefined) return file;
  }
  return undefined;
}

async function existing(path: string): Promise<RegistryFile> {
  const file = await look(path);
  if (file === undefined) throw new InvalidArgumentError(`registries configuration ${path} does not exist`);
  return file;
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

/** Of one name the last directory's file counts. */
async function dropIns(directories: readonly string[]): Promise<readonly string[]> {
  const files = new Map<string, string>();
  for (const directory of directories) {
    try {
      for await (const { name, isDirectory } of Deno.readDir(directory)) {
        if (name.endsWith(".conf") && !isDirectory) files.set(name, `${directory}/${name}`);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw unreadable(directory, error);
    }
  }
  return [...files].sort(([a], [b]) => a < b ? -1 : 1).map(([, path]) => path);
}

function unreadable(path: string, error: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`read registries configuration ${path}: ${messageOf(error)}`, { cause: error });
}
