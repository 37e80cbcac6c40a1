import type { Duplex } from "node:stream";
import { DeadlineError, messageOf } from "../base/errors.ts";
import { type ChannelFormat, ChannelSocket } from "./channel_socket.ts";
import type { AttachStreamRequest, ProcessStreams } from "./handlers.ts";
import { errorStreamText, type Outcome } from "./outcome.ts";
import { SpdySession, type SpdyStream } from "./spdy_session.ts";
import { TerminalSizes } from "./terminal_sizes.ts";

/** How long a client may take to open its streams. */
const STREAMS_MS = 30_000;
/** From this version on the size of a terminal can be changed. */
const RESIZE_VERSION = 3;
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
const CHANNELS = 5;

/** Which of a process's streams the client wants. */
export type WantedStreams = Omit<AttachStreamRequest, "containerId">;

/** A client's streams, whatever carries them. */
interface CommandStreams {
  readonly stdin?: Duplex;
  readonly stdout?: Duplex;
  readonly stderr?: Duplex;
  readonly error: Duplex;
  readonly resize?: Duplex;
  /** After everything has been written. */
  close(): void;
}

/** How to run what the client asked for. */
export interface CommandOptions {
  readonly wanted: WantedStreams;
  /** Of the protocol that was agreed on. */
  readonly version: number;
  run(streams: ProcessStreams): Promise<number>;
}

/** Serves exec or attach on an upgraded SPDY connection, to the end. */
export async function serveSpdyCommand(transport: Duplex, options: CommandOptions): Promise<void> {
  const streams = await openSpdyStreams(transport, options);
  if (streams !== undefined) await serve(streams, { transport, ...options });
}

/** Serves exec or attach on an upgraded WebSocket connection, to the end. */
export async function serveWebSocketCommand(
  transport: Duplex,
  options: CommandOptions & { readonly format: ChannelFormat },
): Promise<void> {
  const { wanted, format } = options;
  const socket = new ChannelSocket(transport, { channels: CHANNELS, format });
  const [stdin, stdout, stderr, error, resize] = socket.channels;
  if (error === undefined) return;
  socket.greet(wanted.stdout ? STDOUT : wanted.stderr ? STDERR : ERROR);
  const given = [
    wanted.stdin && stdin !== undefined ? { stdin } : {},
    wanted.stdout && stdout !== undefined ? { stdout } : {},
    wanted.stderr && stderr !== undefined ? { stderr } : {},
    wanted.tty && resize !== undefined ? { resize } : {},
  ];
  // What a client sends on a channel that nobody reads is dropped.
  for (const number of [STDOUT, STDERR, ERROR]) socket.channels[number]?.resume();
  if (!wanted.stdin) socket.channels[STDIN]?.resume();
  if (!wanted.tty) socket.channels[RESIZE]?.resume();
  await serve(Object.assign({ error, close: () => socket.close() }, ...given), { transport, ...options });
}

/** Waits until the client has opened what it asked for; undefined when it went away or took too long. */
async function openSpdyStreams(
  transport: Duplex,
  { wanted, version }: Pick<CommandOptions, "wanted" | "version">,
): Promise<CommandStreams | undefined> {
  const { stdin, stdout, stderr, tty } = wanted;
  const needed = { stdin, stdout, stderr, error: true, resize: tty && version >= RESIZE_VERSION };
  const missing = new Set(Object.entries(needed).flatMap(([name, isNeeded]) => isNeeded ? [name] : []));
  const streams: Record<string, SpdyStream> = {};
  const { promise, resolve } = Promise.withResolvers<"complete" | "given up">();
  const session = new SpdySession(transport, (stream) => {
    const type = stream.headers.get("streamtype") ?? "";
    if (!missing.delete(type)) return false;
    streams[type] = stream;
    if (missing.size === 0) resolve("complete");
    return true;
  });
  const onClose = (): void => resolve("given up");
  const timer = setTimeout(onClose, STREAMS_MS);
  transport.once("close", onClose).once("end", onClose);
  const outcome = await promise;
  clearTimeout(timer);
  transport.removeListener("close", onClose).removeListener("end", onClose);
  const { error, ...rest } = streams;
  if (outcome === "complete" && error !== undefined) return { ...rest, error, close: () => session.close() };
  if (transport.destroyed) return undefined;
  transport.destroy(new DeadlineError("open streams", `waiting for ${[...missing].join(", ")}`, STREAMS_MS));
  return undefined;
}

async function serve(streams: CommandStreams, options: CommandOptions & { readonly transport: Duplex }): Promise<void> {
  const { transport, wanted, version } = options;
  const gone = new AbortController();
  const onGone = (): void => gone.abort(new DOMException("the client went away", "AbortError"));
  transport.once("close", onGone).once("end", onGone);
  const sizes = new TerminalSizes();
  if (streams.resize !== undefined) sizes.readFrom(streams.resize);
  // Nothing is read from these; a client that closes its half would otherwise never be noticed.
  for (const stream of [streams.stdout, streams.stderr, streams.error]) stream?.resume();
  const { stdin, stdout, stderr, error } = streams;
  try {
    const outcome = await outcomeOf(options.run({
      ...(stdin === undefined ? {} : { stdin }),
      ...(stdout === undefined ? {} : { stdout }),
      ...(stderr === undefined ? {} : { stderr }),
      tty: wanted.tty,
      onResize: (listener) => sizes.listen(listener),
      signal: gone.signal,
    }));
    await Promise.all([stdout, stderr].map((stream) => stream === undefined ? undefined : finished(stream)));
    const text = errorStreamText(outcome, version);
    if (text !== "" && !error.destroyed) error.write(new TextEncoder().encode(text));
    await finished(error);
  } finally {
    transport.removeListener("close", onGone).removeListener("end", onGone);
    streams.close();
  }
}

async function outcomeOf(run: Promise<number>): Promise<Outcome> {
  try {
    return { exitCode: await run };
  } catch (error) {
    return { failure: messageOf(error) };
  }
}

/** Ends a stream and waits until all of it has left, or the client is gone. */
async function finished(stream: Duplex): Promise<void> {
  if (stream.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once("finish", resolve).once("close", resolve);
  stream.end();
  await promise;
}
