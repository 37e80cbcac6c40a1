import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { InvalidArgumentError, messageOf } from "../base/errors.ts";
import { type ChannelFormat, ChannelSocket } from "./channel_socket.ts";
import { SpdySession, type SpdyStream } from "./spdy_session.ts";

/** How long the second stream of a connection may let its partner wait. */
const PARTNER_MS = 30_000;

/** Carries one connection; a failure is what the client is told. */
export type Forward = (port: number, client: Duplex, options: { signal: AbortSignal }) => Promise<void>;

/**
 * Serves port-forward on a SPDY connection until the client leaves it: each connection has two streams of one request
 * id, `error` and `data`, each of which names the port.
 */
export async function serveSpdyForward(transport: Duplex, forward: Forward): Promise<void> {
  const gone = goneSignal(transport);
  const pairs = new Map<string, Pair>();
  const running = new Set<Promise<void>>();
  new SpdySession(transport, (stream) => {
    const id = pairId(stream);
    const port = parsePort(stream.headers.get("port") ?? "");
    const type = stream.headers.get("streamtype");
    if (id === undefined || port === undefined || (type !== "data" && type !== "error")) return false;
    const pair = pairs.get(id) ?? newPair(() => pairs.delete(id));
    if (pair[type] !== undefined) return false;
    pairs.set(id, pair);
    pair[type] = stream;
    const { data, error } = pair;
    if (data === undefined || error === undefined) return true;
    clearTimeout(pair.timer);
    pairs.delete(id);
    const work = carry({ data, error }, { port, forward, signal: gone.signal }).finally(() => running.delete(work));
    running.add(work);
    return true;
  });
  await aborted(gone.signal);
  for (const pair of pairs.values()) clearTimeout(pair.timer);
  await Promise.all(running);
}

/** Serves port-forward on a WebSocket: channels 2n and 2n+1 are data and error of the n-th port of the request. */
export async function serveWebSocketForward(
  transport: Duplex,
  options: { readonly ports: readonly number[]; readonly format: ChannelFormat; readonly forward: Forward },
): Promise<void> {
  const { ports, format, forward } = options;
  const gone = goneSignal(transport);
  const socket = new ChannelSocket(transport, { channels: 2 * ports.length, format });
  await Promise.all(ports.map(async (port, i) => {
    const data = socket.channels[2 * i];
    const error = socket.channels[2 * i + 1];
    if (data === undefined || error === undefined) return;
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    data.write(number);
    error.write(number);
    await carry({ data, error }, { port, forward, signal: gone.signal });
  }));
  socket.close();
}

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  readonly timer: ReturnType<typeof setTimeout>;
}

function newPair(forget: () => void): Pair {
  const pair: Pair = {
    timer: setTimeout(() => {
      forget();
      pair.data?.destroy();
      pair.error?.destroy();
    }, PARTNER_MS),
  };
  return pair;
}

/** Old clients send no request id: their error stream comes right before the data stream. */
function pairId({ id, headers }: SpdyStream): string | undefined {
  const given = headers.get("requestid") ?? "";
  if (given !== "") return given;
  const type = headers.get("streamtype");
  if (type === "error") return String(id);
  return type === "data" ? String(id - 2) : undefined;
}

/** 1 to 65535, in decimal. */
export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

async function carry(
  streams: { readonly data: Duplex; readonly error: Duplex },
  options: { readonly port: number; readonly forward: Forward; readonly signal: AbortSignal },
): Promise<void> {
  const { data, error } = streams;
  error.resume();
  try {
    await options.forward(options.port, data, options);
  } catch (failure) {
    const text = `error forwarding port ${options.port}: ${messageOf(failure)}`;
    if (!error.destroyed) error.write(new TextEncoder().encode(text));
  }
  // Nobody reads it any more; left alone it would hold the connection back for the others.
  data.resume();
  await Promise.all([ended(error), ended(data)]);
}

/** Ends a stream and waits until all that was written to it is on its way: whoever closes the connection cuts the rest off. */
async function ended(stream: Duplex): Promise<void> {
  if (stream.destroyed || stream.writableFinished) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once("finish", resolve).once("close", resolve);
  stream.end();
  await promise;
}

function goneSignal(transport: Duplex): AbortController {
  const gone = new AbortController();
  const onGone = (): void => gone.abort(new DOMException("the client went away", "AbortError"));
  transport.once("close", onGone).once("end", onGone);
  return gone;
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/** @throws InvalidArgumentError when a number of the list is no TCP port */
export function checkPorts(ports: readonly number[]): readonly number[] {
  for (const port of ports) {
    if (parsePort(String(port)) === undefined) {
      throw new InvalidArgumentError(`port ${port} is not between 1 and 65535`);
    }
  }
  return ports;
}
