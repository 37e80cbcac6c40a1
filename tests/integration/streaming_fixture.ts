/** A streaming server with handlers of a test's own, and a SPDY client that talks to it. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { silentLogger } from "../../src/base/logger.ts";
import type { StreamHandlers } from "../../src/streaming/handlers.ts";
import { type StreamingOptions, StreamingServer } from "../../src/streaming/server.ts";
import { SpdyEncoder, SpdyParser } from "../../src/streaming/spdy_frames.ts";

const refuse = (): Promise<never> => Promise.reject(new Error("not in this test"));

/** Listens on a free port of the loopback. */
export async function startServer(
  handlers: Partial<StreamHandlers>,
  options: Partial<StreamingOptions> = {},
): Promise<StreamingServer> {
  return await StreamingServer.listen({ address: "127.0.0.1", port: 0, ...options }, {
    handlers: { exec: refuse, attach: refuse, portForward: refuse, ...handlers },
    log: silentLogger,
  });
}

/** Connects, asks for an upgrade and gives the socket with the head of the answer. */
export async function upgrade(
  url: string,
  headers: Readonly<Record<string, string>>,
  open: (target: { host: string; port: number }) => Socket = (target) => connect({ ...target, allowHalfOpen: true }),
): Promise<{ socket: Socket; head: string }> {
  const { hostname, port, pathname } = new URL(url);
  const socket = open({ host: hostname, port: Number(port) });
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  socket.write([`POST ${pathname} HTTP/1.1`, "Host: test", "Connection: Upgrade", ...lines, "", ""].join("\r\n"));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let seen: Buffer = Buffer.alloc(0);
  const onData = (chunk: Uint8Array): void => {
    seen = Buffer.concat([seen, chunk]);
    const end = seen.indexOf("\r\n\r\n");
    if (end < 0) return;
    socket.removeListener("data", onData);
    socket.pause();
    const rest = seen.subarray(end + 4);
    if (rest.length > 0) socket.unshift(rest);
    resolve(seen.subarray(0, end).toString());
  };
  socket.on("data", onData);
  socket.once("error", reject);
  socket.once("close", () => reject(new Error("closed before an answer")));
  return { socket, head: await promise };
}

/** A client as kubectl is one: opens streams, collects what comes on each. */
export class SpdyClient implements Disposable {
  readonly #encoder = new SpdyEncoder();
  readonly #parser = new SpdyParser();
  readonly #received = new Map<number, Buffer[]>();
  readonly #ended = new Map<number, PromiseWithResolvers<void>>();
  readonly closed: Promise<void>;
  readonly goneAway: Promise<void>;
  #nextId = 1;

  private constructor(readonly socket: Socket) {
    const closed = Promise.withResolvers<void>();
    const goneAway = Promise.withResolvers<void>();
    this.closed = closed.promise;
    this.goneAway = goneAway.promise;
    socket.on("error", () => {});
    socket.once("close", () => {
      closed.resolve();
      goneAway.resolve();
      for (const { resolve } of this.#ended.values()) resolve();
    });
    socket.once("end", () => socket.end());
    socket.on("data", (chunk: Uint8Array) => {
      for (const frame of this.#parser.parse(chunk)) {
        if (frame.kind === "goAway") goneAway.resolve();
        if (frame.kind === "rstStream") this.#endOf(frame.id).resolve();
        if (frame.kind !== "data") continue;
        this.#received.get(frame.id)?.push(Buffer.from(frame.payload));
        if (frame.fin) this.#endOf(frame.id).resolve();
      }
    });
    socket.resume();
  }

  static async connect(url: string, protocol: string): Promise<SpdyClient> {
    const { socket, head } = await upgrade(url, { Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": protocol });
    assert.match(head, /^HTTP\/1\.1 101 /);
    assert.ok(head.includes(`X-Stream-Protocol-Version: ${protocol}`), head);
    return new SpdyClient(socket);
  }

  open(headers: Readonly<Record<string, string>>): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#received.set(id, []);
    this.socket.write(this.#encoder.synStream(id, new Map(Object.entries(headers))));
    return id;
  }

  write(id: number, data: Uint8Array | string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.socket.write(this.#encoder.data(id, Buffer.from(data)), () => resolve());
    return promise;
  }

  finish(id: number): void {
    this.socket.write(this.#encoder.data(id, new Uint8Array(), { fin: true }));
  }

  /** What came on a stream, once it has ended. */
  async all(id: number): Promise<string> {
    await this.#endOf(id).promise;
    return Buffer.concat(this.#received.get(id) ?? []).toString();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #endOf(id: number): PromiseWithResolvers<void> {
    const end = this.#ended.get(id) ?? Promise.withResolvers<void>();
    this.#ended.set(id, end);
    return end;
  }
}
