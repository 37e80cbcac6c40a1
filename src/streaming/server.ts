import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, isIP, isIPv6 } from "node:net";
import type { Duplex } from "node:stream";
import { InvalidArgumentError, messageOf, UnavailableError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { AttachStreamRequest, ExecStreamRequest, PortForwardStreamRequest, StreamHandlers } from "./handlers.ts";
import { checkPorts } from "./port_forward.ts";
import { serveSession, type StreamRequest } from "./session.ts";
import { TlsFiles, type TlsOptions } from "./tls_files.ts";
import { TokenCache, type TokenOptions } from "./tokens.ts";

/** As in Kubernetes' streaming library. */
const DEFAULT_IDLE_MS = 4 * 60 * 60 * 1000;
/** How long a client that has been told everything may take to go. */
const LINGER_MS = 10_000;
const HEADERS_MS = 10_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** Connections at a time, waiting ones included. */
const MAX_CONNECTIONS = 4096;
const LARGEST_TIMER_MS = 2 ** 31 - 1;

export interface StreamingOptions {
  /** `stream_address`: an IP address; anything else is taken as all addresses. */
  readonly address: string;
  /** `stream_port`; 0 takes a free one. */
  readonly port: number;
  /** Absent: plain HTTP. */
  readonly tls?: TlsOptions;
  /** Connections on which nothing moves are closed after this; 0 or absent: four hours. */
  readonly idleTimeoutMs?: number;
  readonly tokens?: TokenOptions;
}

export interface StreamingDeps {
  readonly handlers: StreamHandlers;
  readonly log: Logger;
}

/**
 * Serves exec, attach and port-forward to those who got a URL for it: random, good for one connection within a minute.
 */
export class StreamingServer implements AsyncDisposable {
  readonly #tokens: TokenCache<StreamRequest>;
  readonly #sockets = new Set<Duplex>();
  readonly #sessions = new Set<Promise<void>>();

  private constructor(
    private readonly options: StreamingOptions,
    private readonly deps: StreamingDeps,
    private readonly listener: { readonly server: Server; readonly tls: TlsFiles | undefined },
  ) {
    this.#tokens = new TokenCache(options.tokens);
    const { server } = listener;
    server.on("connection", (socket: Duplex) => this.#track(socket));
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Uint8Array) => {
      this.#upgrade(request, { socket, head });
    });
    server.on("clientError", (_error: Error, socket: Duplex) => socket.destroy());
  }

  /**
   * @throws InvalidArgumentError when the TLS files cannot be used; UnavailableError when the address cannot be bound
   */
  static async listen(options: StreamingOptions, deps: StreamingDeps): Promise<StreamingServer> {
    const tls = options.tls === undefined ? undefined : await TlsFiles.open(options.tls, deps.log);
    const settings = { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: HEADERS_MS };
    const server = tls === undefined
      ? createHttpServer(settings, refuse)
      : createHttpsServer({ ...settings, ...tls.settings() }, refuse) as Server;
    server.maxConnections = MAX_CONNECTIONS;
    const streaming = new StreamingServer(options, deps, { server, tls });
    const host = isIP(options.address) === 0 ? undefined : options.address;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ port: options.port, ...(host === undefined ? {} : { host }) }, resolve);
    try {
      await promise;
    } catch (cause) {
      const where = `${options.address}:${options.port}`;
      tls?.[Symbol.dispose]();
      throw new UnavailableError(`streaming server cannot listen on ${where}: ${messageOf(cause)}`, { cause });
    }
    server.removeListener("error", reject);
    server.on("error", (error: Error) => deps.log.error(`streaming server: ${error.message}`));
    tls?.watch((settings) => (server as unknown as SecureServer).setSecureContext?.(settings));
    deps.log.info("Serving exec, attach and port-forward", { url: streaming.url });
    return streaming;
  }

  /** Scheme, address and port, without a slash at the end. */
  get url(): string {
    const { port } = this.listener.server.address() as AddressInfo;
    return `${this.listener.tls === undefined ? "http" : "https"}://${reachable(this.options.address)}:${port}`;
  }

  /** @throws InvalidArgumentError; ResourceExhaustedError when too many requests wait for their client */
  execUrl(request: ExecStreamRequest): string {
    if (request.command.length === 0) throw new InvalidArgumentError("cmd is empty");
    checkStreams(request);
    return this.#urlOf({ kind: "exec", request });
  }

  /** @throws InvalidArgumentError; ResourceExhaustedError when too many requests wait for their client */
  attachUrl(request: AttachStreamRequest): string {
    checkStreams(request);
    return this.#urlOf({ kind: "attach", request });
  }

  /** @throws InvalidArgumentError; ResourceExhaustedError when too many requests wait for their client */
  portForwardUrl(request: PortForwardStreamRequest): string {
    checkPorts(request.ports);
    return this.#urlOf({ kind: "portforward", request });
  }

  /** Sessions that run now. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Takes no more connections, cuts those that are there, and waits until their handlers have let go. */
  async close(): Promise<void> {
    const { server, tls } = this.listener;
    tls?.[Symbol.dispose]();
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([...this.#sessions]);
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #urlOf(request: StreamRequest): string {
    return `${this.url}/${request.kind}/${this.#tokens.insert(request)}`;
  }

  #track(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
  }

  #upgrade(http: IncomingMessage, { socket, head }: { socket: Duplex; head: Uint8Array }): void {
    // With TLS this is not the socket that "connection" gave.
    this.#track(socket);
    const path = (http.url ?? "").split("?")[0] ?? "";
    const [, kind, token] = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]+)$/.exec(path) ?? [];
    const request = token === undefined ? undefined : this.#tokens.consume(token);
    if (request === undefined || request.kind !== kind) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    this.#setIdleTimeout(socket);
    if (head.length > 0) socket.unshift(head);
    const { log, handlers } = this.deps;
    const session = serveSession({ socket, headers: http.headers, request }, handlers)
      .catch((error) => log.error(`${kind} session failed: ${messageOf(error)}`))
      .finally(() => {
        this.#sessions.delete(session);
        linger(socket);
      });
    this.#sessions.add(session);
  }

  #setIdleTimeout(socket: Duplex): void {
    const idleMs = this.options.idleTimeoutMs ?? 0;
    const timeoutMs = Math.min(idleMs > 0 ? idleMs : DEFAULT_IDLE_MS, LARGEST_TIMER_MS);
    const timed = socket as Duplex & { setTimeout?(ms: number, onTimeout: () => void): void };
    timed.setTimeout?.(timeoutMs, () => socket.destroy());
  }
}

interface SecureServer {
  setSecureContext?(settings: object): void;
}

/** Lets what was written leave and drops what still comes; a client that does not go after that is cut off. */
function linger(socket: Duplex): void {
  if (socket.destroyed) return;
  if (!socket.writableEnded) socket.end();
  socket.resume();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wait = (): void => {
    timer = setTimeout(() => socket.destroy(), LINGER_MS);
  };
  socket.once("close", () => clearTimeout(timer));
  if (socket.writableFinished) wait();
  else socket.once("finish", wait);
}

/** @throws InvalidArgumentError, with the words of Kubernetes' streaming library */
function checkStreams({ tty, stdin, stdout, stderr }: AttachStreamRequest): void {
  if (tty && stderr) throw new InvalidArgumentError("tty and stderr cannot both be true");
  if (!stdin && !stdout && !stderr) throw new InvalidArgumentError("one of stdin, stdout, or stderr must be set");
}

/** An address that a client on this node can dial. */
function reachable(address: string): string {
  if (isIP(address) === 0 || address === "0.0.0.0") return "127.0.0.1";
  if (address === "::") return "[::1]";
  return isIPv6(address) ? `[${address}]` : address;
}

/** Ordinary requests: there is nothing here for them. */
function refuse(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(400, { "content-type": "text/plain", connection: "close" });
  response.end("this server takes upgrades to SPDY/3.1 and WebSocket only\n");
}
