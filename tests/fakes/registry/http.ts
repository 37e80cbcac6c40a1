import net from "node:net";
import tls from "node:tls";
import { once } from "node:events";

/** A request as it came in. Header names are lower case; `path` keeps its percent signs and has no query. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** An answer, with everything that can be wrong about its delivery. */
export interface HttpReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Content-Length to claim; default is the body's own size. */
  readonly claimedLength?: number;
  /** Stop after so many body bytes (-1: before the status line) and do `then`. */
  readonly stopAfterBytes?: number;
  /** What happens at the stop: FIN, RST, or silence until the other side or the server closes. Default close. */
  readonly stopBy?: "close" | "reset" | "stall";
  /** Limits the speed of the body. */
  readonly bytesPerSecond?: number;
}

export interface ServerTls {
  readonly cert: string;
  readonly key: string;
}

const MAX_HEAD_BYTES = 64 * 1024;
const CHUNK_BYTES = 256 * 1024;

/**
 * An HTTP/1.1 server on a loopback port whose answers can be cut, delayed and reset byte by byte, which the built-in
 * servers do not allow. Keep-alive, Content-Length bodies of requests; no chunked requests, no pipelining.
 */
export class HttpServer implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server, readonly host: string, readonly secure: boolean) {
    this.#server = server;
  }

  /** Listens on 127.0.0.1, port chosen by the kernel. */
  static async start(
    handler: (request: HttpRequest) => HttpReply | Promise<HttpReply>,
    options: { tls?: ServerTls; port?: number } = {},
  ): Promise<HttpServer> {
    const accept = (socket: net.Socket): void => {
      self.#sockets.add(socket);
      // Head and body are written one after the other: held back, each answer would take 40 ms.
      socket.setNoDelay();
      socket.on("error", () => {});
      socket.on("close", () => self.#sockets.delete(socket));
      serve(socket, handler).catch(() => socket.destroy());
    };
    const server = options.tls === undefined
      ? net.createServer(accept)
      : tls.createServer({ cert: options.tls.cert, key: options.tls.key }, accept);
    server.on("error", () => {});
    server.listen(options.port ?? 0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const self: HttpServer = new HttpServer(server, `127.0.0.1:${port}`, options.tls !== undefined);
    return self;
  }

  /** `http://127.0.0.1:port` or https. */
  get origin(): string {
    return `${this.secure ? "https" : "http"}://${this.host}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

async function serve(
  socket: net.Socket,
  handler: (request: HttpRequest) => HttpReply | Promise<HttpReply>,
): Promise<void> {
  const input = new Input(socket);
  for (;;) {
    const request = await readRequest(input);
    if (request === undefined) break;
    const keep = await send(socket, { reply: await handler(request), method: request.method });
    if (!keep || request.headers.get("connection") === "close") break;
  }
  socket.end();
}

/** The bytes of a socket, pulled on demand. */
class Input {
  #rest: Uint8Array<ArrayBufferLike> = new Uint8Array();
  readonly #chunks: AsyncIterator<Uint8Array>;

  constructor(socket: net.Socket) {
    this.#chunks = (socket as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  }

  /** Everything up to and including the empty line; undefined at the end of the connection. */
  async head(): Promise<string | undefined> {
    for (;;) {
      const text = new TextDecoder("latin1").decode(this.#rest);
      const end = text.indexOf("\r\n\r\n");
      if (end >= 0) {
        this.#rest = this.#rest.subarray(end + 4);
        return text.slice(0, end);
      }
      // A TLS greeting to a plain server: hang up, as real servers do.
      if (text !== "" && !/^[A-Z\r\n]/.test(text)) return undefined;
      if (text.length > MAX_HEAD_BYTES || !(await this.#more())) return undefined;
    }
  }

  async bytes(count: number): Promise<Uint8Array> {
    while (this.#rest.length < count) {
      if (!(await this.#more())) throw new Error("the client closed within a request body");
    }
    const bytes = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return bytes;
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done === true) return false;
    const joined = new Uint8Array(this.#rest.length + next.value.length);
    joined.set(this.#rest);
    joined.set(next.value, this.#rest.length);
    this.#rest = joined;
    return true;
  }
}

async function readRequest(input: Input): Promise<HttpRequest | undefined> {
  const head = await input.head();
  if (head === undefined) return undefined;
  const [first = "", ...lines] = head.split("\r\n");
  const [method = "", target = "/"] = first.split(" ");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const body = await input.bytes(Number(headers.get("content-length") ?? "0"));
  // A proxy request names the whole URL.
  const relative = target.replace(/^https?:\/\/[^/]+/, "");
  const mark = relative.indexOf("?");
  const path = mark < 0 ? relative : relative.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : relative.slice(mark + 1));
  return { method, path, query, headers, body };
}

/** @returns whether the connection may be used again */
async function send(socket: net.Socket, options: { reply: HttpReply; method: string }): Promise<boolean> {
  const { reply, method } = options;
  const body = reply.body ?? new Uint8Array();
  const stop = reply.stopAfterBytes;
  if (stop !== undefined && stop < 0) return await halt(socket, reply.stopBy ?? "close");
  const headers = { "content-length": String(reply.claimedLength ?? body.length), ...reply.headers };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await write(socket, new TextEncoder().encode(`HTTP/1.1 ${reply.status} Status\r\n${lines}\r\n`));
  if (method === "HEAD") return true;
  const end = Math.min(stop ?? body.length, body.length);
  await sendBody(socket, { body: body.subarray(0, end), bytesPerSecond: reply.bytesPerSecond });
  if (stop !== undefined) return await halt(socket, reply.stopBy ?? "close");
  return reply.claimedLength === undefined || reply.claimedLength === body.length;
}

async function sendBody(
  socket: net.Socket,
  options: { body: Uint8Array; bytesPerSecond: number | undefined },
): Promise<void> {
  const { body, bytesPerSecond } = options;
  const TICKS_PER_SECOND = 20;
  const step = bytesPerSecond === undefined ? CHUNK_BYTES : Math.max(1, Math.ceil(bytesPerSecond / TICKS_PER_SECOND));
  for (let done = 0; done < body.length; done += step) {
    await write(socket, body.subarray(done, done + step));
    if (bytesPerSecond !== undefined) await pause(socket, 1000 / TICKS_PER_SECOND);
  }
}

async function halt(socket: net.Socket, by: "close" | "reset" | "stall"): Promise<boolean> {
  // The connection's end is also what releases a stall when the server is disposed.
  if (by === "stall" && !socket.destroyed) await new Promise((resolve) => socket.once("close", resolve));
  if (by === "reset") socket.resetAndDestroy();
  return false;
}

function write(socket: net.Socket, bytes: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (socket.destroyed) reject(new Error("the client is gone"));
  else socket.write(bytes, (error) => error instanceof Error ? reject(error) : resolve());
  return promise;
}

function pause(socket: net.Socket, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    socket.off("close", onClose);
    resolve();
  }, ms);
  const onClose = (): void => {
    clearTimeout(timer);
    resolve();
  };
  socket.once("close", onClose);
  return promise;
}
