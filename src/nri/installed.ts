import type { Socket } from "node:net";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { duplexOf, openSocketPair } from "../linux/pipe.ts";
import { type Child, spawnProcess } from "../linux/spawn.ts";
import { checkIdentity, type PluginIdentity } from "./identity.ts";

/** A plugin that is started with the daemon. */
export interface InstalledPlugin {
  readonly identity: PluginIdentity;
  readonly path: string;
  /** The text of its configuration file; empty when it has none. */
  readonly config: string;
}

/** A started plugin's process, and our end of its socket. */
export interface LaunchedPlugin extends AsyncDisposable {
  readonly connection: Socket;
  readonly pid: number;
}

const SIGTERM = 15;
const SIGKILL = 9;
/** A plugin whose socket is closed leaves by itself; one that does not is killed after this. */
const LEAVE_MS = 1000;
/** The plugin's number of the socket. */
const SOCKET_FD = 3;
const WASM_MAGIC = "\0asm";

/**
 * The executable files `NN-name` of a directory, with their configuration: `NN-name.conf`, else `name.conf`. What has
 * another name, cannot be run here or cannot be configured is left out with a warning; without the directory there are none.
 */
export async function findInstalled(
  { pluginDirectory, configDirectory }: { readonly pluginDirectory: string; readonly configDirectory: string },
  log: Logger,
): Promise<InstalledPlugin[]> {
  const found: InstalledPlugin[] = [];
  for (const file of await filesOf(pluginDirectory)) {
    const path = `${pluginDirectory}/${file}`;
    try {
      const { isFile, mode } = await Deno.stat(path);
      if (!isFile || ((mode ?? 0) & 0o111) === 0) continue;
      const identity = { index: file.slice(0, 2), name: file.slice(3) };
      if (file[2] !== "-") throw new Error("its name is not NN-name");
      checkIdentity(identity);
      if (await isWasm(path)) throw new Error("plugins in WebAssembly are not supported");
      found.push({ identity, path, config: await configOf(configDirectory, { file, name: identity.name }) });
    } catch (error) {
      log.warn(`NRI: ${path} is not started: ${messageOf(error)}`);
    }
  }
  return found;
}

/** @throws ErrnoError when it cannot be executed */
export function launch({ identity, path }: InstalledPlugin): LaunchedPlugin {
  using pair = openSocketPair();
  const child = spawnProcess([path], {
    env: {
      NRI_PLUGIN_NAME: identity.name,
      NRI_PLUGIN_IDX: identity.index,
      NRI_PLUGIN_SOCKET: String(SOCKET_FD),
    },
    fds: new Map([[SOCKET_FD, pair.write.fd]]),
  });
  const connection = duplexOf(pair.read);
  return {
    connection,
    pid: child.pid,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      connection.destroy();
      await end(child);
    },
  };
}

async function end(child: Child): Promise<void> {
  const kill = setTimeout(() => child.kill(SIGKILL), LEAVE_MS);
  child.kill(SIGTERM);
  await child.exited;
  clearTimeout(kill);
}

async function filesOf(directory: string): Promise<string[]> {
  try {
    const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
    return names.sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function isWasm(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  const head = new Uint8Array(WASM_MAGIC.length);
  return await file.read(head) === head.length && new TextDecoder().decode(head) === WASM_MAGIC;
}

async function configOf(directory: string, { file, name }: { file: string; name: string }): Promise<string> {
  for (const base of [file, name]) {
    try {
      return await Deno.readTextFile(`${directory}/${base}.conf`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return "";
}
