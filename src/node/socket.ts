import { createConnection, createServer, type Server, type Socket } from "node:net";
import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** Who gets a connection once its first bytes told the protocol. The bytes are put back before. */
export interface ProtocolServers {
  /** HTTP/2 with prior knowledge: gRPC. */
  readonly grpc: {
    accept(connection: Socket): void;
    close(options: { graceMs: number }): Promise<void>;
  };
  /** Anything else: a `node:http` Server that does not listen. */
  readonly http: {
    emit(event: "connection", connection: Socket): boolean;
    closeIdleConnections(): void;
  };
}

/** Where and how to listen. */
export interface SocketOptions {
  /** Absolute path, or `unix:///path`. */
  readonly listen: string;
  /** How long a new connection may say nothing, in milliseconds. Default 60,000. */
  readonly silenceMs?: number;
}

const SOCKET_MODE = 0o660;
const PARENT_MODE = 0o755;
/** `sun_path` of struct sockaddr_un, linux/un.h, less the final NUL. */
const MAX_PATH_BYTES = 107;
const NEW_SUFFIX = ".new";
const PROBE_MS = 2000;
const SILENCE_MS = 60_000;
/** How the connection preface of HTTP/2 begins (RFC 9113, 3.4); no HTTP/1 method starts with these letters. */
const PREFACE = new TextEncoder().encode("PRI");

/**
 * The one unix socket of the daemon. It looks at the first bytes of a connection and hands it to the gRPC or the HTTP
 * server.
 *
 * Life: `listen` -> connections -> `close`, once. The file appears under its name only when it is complete and has its
 * mode, so that no client ever meets a half-made one; a dead file of an earlier daemon is replaced in the same step.
 */
export class CrioSocket implements AsyncDisposable {
  readonly #connections = new Set<Socket>();
  readonly #undecided = new Set<Socket>();
  #inode: number | null = null;

  private constructor(
    readonly path: string,
    private readonly server: Server,
    private readonly servers: ProtocolServers,
    private readonly silenceMs: number,
    private readonly log: Logger,
  ) {
    server.on("connection", (connection) => this.#accept(connection));
    server.on("error", (error) => log.error(`listening socket: ${messageOf(error)}`, { socket: path }));
  }

  /**
   * @throws InvalidArgumentError for a path that no unix socket can have
   * @throws FailedPreconditionError when another process listens there, or the file is not a socket
   */
  static async listen(options: SocketOptions, servers: ProtocolServers, log: Logger): Promise<CrioSocket> {
    const path = socketPath(options.listen);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")) || "/", { recursive: true, mode: PARENT_MODE });
    await refuseOccupied(path);
    const server = createServer({ allowHalfOpen: false });
    const socket = new CrioSocket(path, server, servers, options.silenceMs ?? SILENCE_MS, log);
    socket.#inode = await bind(server, path);
    return socket;
  }

  /**
   * For whoever is about to change what another program may be using.
   *
   * @throws as {@link listen}, and binds nothing
   */
  static async check(listen: string): Promise<void> {
    await refuseOccupied(socketPath(listen));
  }

  /** Stops listening, lets running calls end for up to `graceMs`, then cuts what is left. */
  async close(options: { graceMs: number }): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    await this.#removeFile();
    for (const connection of this.#undecided) connection.destroy();
    this.servers.http.closeIdleConnections();
    const cut = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, options.graceMs);
    await this.servers.grpc.close(options);
    // Resolves once every connection has ended.
    await closed;
    clearTimeout(cut);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ graceMs: 0 });
  }

  #accept(connection: Socket): void {
    this.#connections.add(connection);
    connection.once("close", () => this.#connections.delete(connection));
    this.#undecided.add(connection);
    let seen = new Uint8Array();
    const onError = (error: Error): void => this.log.debug(`connection: ${error.message}`);
    const silence = setTimeout(() => connection.destroy(), this.silenceMs);
    const leave = (): void => {
      clearTimeout(silence);
      this.#undecided.delete(connection);
      connection.off("data", onData).off("close", leave);
    };
    const onData = (chunk: Uint8Array): void => {
      seen = concat(seen, chunk);
      const protocol = protocolOf(seen);
      if (protocol === undefined) return;
      leave();
      connection.pause();
      connection.unshift(seen);
      if (protocol === "grpc") return this.servers.grpc.accept(connection);
      this.servers.http.emit("connection", connection);
      // An HTTP/2 session starts to read by itself; an HTTP/1 server takes a paused socket for a slow one.
      connection.resume();
    };
    // Stays for good: an error on a socket that nobody listens to would end the process.
    connection.on("error", onError);
    connection.on("data", onData).once("close", leave);
  }

  async #removeFile(): Promise<void> {
    // A successor may have put its own socket there already.
    const there = await statOrUndefined(this.path);
    if (there !== undefined && there.ino === this.#inode) await Deno.remove(this.path).catch(ignoreNotFound);
  }
}

/**
 * The path in `unix:///run/x.sock` or `/run/x.sock`.
 *
 * @throws InvalidArgumentError unless it is absolute and fits into a socket address
 */
export function socketPath(listen: string): string {
  const path = listen.startsWith("unix://") ? listen.slice("unix://".length) : listen;
  if (!path.startsWith("/") || path.endsWith("/") || path.includes("\0")) {
    throw new InvalidArgumentError(`listen address ${JSON.stringify(listen)} is not an absolute path of a socket`);
  }
  const limit = MAX_PATH_BYTES - NEW_SUFFIX.length;
  if (new TextEncoder().encode(path).length > limit) {
    throw new InvalidArgumentError(`listen address ${JSON.stringify(listen)} is longer than ${limit} bytes`);
  }
  return path;
}

function protocolOf(seen: Uint8Array): "grpc" | "http" | undefined {
  const length = Math.min(seen.length, PREFACE.length);
  for (let i = 0; i < length; i++) if (seen[i] !== PREFACE[i]) return "http";
  return length < PREFACE.length ? undefined : "grpc";
}

function concat(a: Uint8Array<ArrayBuffer>, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

async function refuseOccupied(path: string): Promise<void> {
  const there = await statOrUndefined(path);
  if (there === undefined) return;
  if (!there.isSocket) {
    throw new FailedPreconditionError(`listen on ${path}: the file there is not a socket; move it away`);
  }
  const code = await probe(path);
  if (code === "ECONNREFUSED" || code === "ENOENT") return;
  const what = code === undefined ? "another process listens there" : `it could not be probed (${code})`;
  throw new FailedPreconditionError(`listen on ${path}: ${what}; stop that process or choose another path`);
}

/** Undefined when somebody accepts connections there, else the error's code. */
function probe(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const connection = createConnection(path);
    const timer = setTimeout(() => end("ETIMEDOUT"), PROBE_MS);
    const end = (code: string | undefined): void => {
      clearTimeout(timer);
      connection.destroy();
      resolve(code);
    };
    connection.once("connect", () => end(undefined));
    connection.once("error", (error: Error & { code?: string }) => end(error.code ?? error.message));
  });
}

/** Binds under another name, sets the mode, renames. Gives the inode, by which the file is known again. */
async function bind(server: Server, path: string): Promise<number | null> {
  const fresh = path + NEW_SUFFIX;
  await Deno.remove(fresh).catch(ignoreNotFound);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(fresh, () => {
      server.off("error", reject);
      resolve();
    });
  });
  try {
    await Deno.chmod(fresh, SOCKET_MODE);
    const { ino } = await Deno.stat(fresh);
    await Deno.rename(fresh, path);
    return ino;
  } catch (error) {
    server.close();
    throw error;
  }
}

async function statOrUndefined(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    ignoreNotFound(error);
    return undefined;
  }
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
