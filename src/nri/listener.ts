import { connect, createServer, type Server, type Socket } from "node:net";
import { FailedPreconditionError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** Whoever can write to the socket can change every container. */
const DIRECTORY_MODE = 0o700;
const SOCKET_MODE = 0o600;
const PROBE_MS = 2000;

/**
 * Listens for plugins on a unix socket. A file that a daemon left behind is replaced.
 *
 * @throws FailedPreconditionError when another process listens there, or the file is not a socket
 */
export async function listenForPlugins(
  path: string,
  { log, onConnection }: { readonly log: Logger; readonly onConnection: (connection: Socket) => void },
): Promise<AsyncDisposable> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")) || "/", { recursive: true, mode: DIRECTORY_MODE });
  await removeLeftover(path);
  const connections = new Set<Socket>();
  const server = createServer((connection) => {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
    onConnection(connection);
  });
  server.on("error", (error) => log.error(`NRI: listening socket: ${messageOf(error)}`, { socket: path }));
  await listen(server, path);
  await Deno.chmod(path, SOCKET_MODE);
  return {
    [Symbol.asyncDispose]: async (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      for (const connection of connections) connection.destroy();
      await promise;
    },
  };
}

async function removeLeftover(path: string): Promise<void> {
  const info = await Deno.lstat(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (info === undefined) return;
  const remedy = "set nri_listen to another path, or enable_nri to false";
  if (info.isSocket !== true) {
    throw new FailedPreconditionError(`NRI socket ${path} is another kind of file: ${remedy}`);
  }
  if (await isServed(path)) {
    throw new FailedPreconditionError(`another process listens on the NRI socket ${path}: stop it, ${remedy}`);
  }
  await Deno.remove(path);
}

function isServed(path: string): Promise<boolean> {
  const probe = connect(path);
  const { promise, resolve } = Promise.withResolvers<"served" | "dead">();
  // One that does not even refuse is alive.
  probe.setTimeout(PROBE_MS, () => resolve("served"));
  probe.once("connect", () => resolve("served"));
  probe.once("error", () => resolve("dead"));
  return promise.then((found) => found === "served").finally(() => probe.destroy());
}

function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(path, () => {
    server.off("error", reject);
    resolve();
  });
  return promise;
}
