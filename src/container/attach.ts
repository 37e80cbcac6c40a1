import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { FailedPreconditionError, messageOf } from "../base/errors.ts";
import { isErrno } from "../linux/errno.ts";
import { connectSeqpacket, rawStreamOf, shutdownWriting } from "../linux/seqpacket.ts";
import type { ProcessStreams, TerminalSize } from "../streaming/handlers.ts";
import type { ContainerDeps } from "./deps.ts";
import type { AttachPoint } from "./ports.ts";
import type { ContainerRecord } from "./types.ts";

/** First byte of each packet that conmon sends. */
const STDOUT = 2;
const STDERR = 3;
/** conmon reads packets of at most 32 KiB; what is longer would be cut. */
const MAX_PACKET_BYTES = 16 * 1024;

/**
 * Connects a client to the streams of a container's first process, through its monitor, until the container ends or the
 * client has gone. The container goes on either way.
 *
 * @throws FailedPreconditionError when there is no monitor
 */
export async function attach(deps: ContainerDeps, record: ContainerRecord, streams: ProcessStreams): Promise<void> {
  const { id, runDirectory: bundle } = record;
  const point = deps.runtimes.find(record.runtimeHandler).attachPoint({ id, bundle });
  streams.signal.throwIfAborted();
  const { socket, fd } = connect(id, point);
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  socket.once("end", resolve).once("close", resolve).once("error", () => resolve());
  const stop = (): void => resolve();
  streams.signal.addEventListener("abort", stop, { once: true });
  try {
    if (streams.tty) {
      streams.onResize((size) => {
        if (!socket.destroyed) resize(point, { size, onFailure: (text) => deps.log.warn(text, { container: id }) });
      });
    }
    deliver(socket, streams);
    if (streams.stdin !== undefined) {
      feed(socket, streams.stdin, () => {
        if (!socket.destroyed) shutdownWriting(fd);
      });
    }
    await ended;
  } finally {
    streams.signal.removeEventListener("abort", stop);
    socket.destroy();
  }
}

function connect(id: string, point: AttachPoint): { socket: Socket; fd: number } {
  try {
    const owned = connectSeqpacket(point.socketPath);
    const { fd } = owned;
    const socket = rawStreamOf(owned);
    socket.on("error", () => {});
    return { socket, fd };
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ECONNREFUSED", "EAGAIN")) throw error;
    throw new FailedPreconditionError(
      `attach: nobody listens at ${point.socketPath}: container ${id} has ended, or its monitor died`,
      { cause: error },
    );
  }
}

function resize(point: AttachPoint, { size, onFailure }: { size: TerminalSize; onFailure(text: string): void }): void {
  try {
    point.resize(size);
  } catch (error) {
    onFailure(`terminal could not be resized: ${messageOf(error)}`);
  }
}

/** Packets go where their first byte says; a client that is behind holds the monitor back. */
function deliver(socket: Socket, { stdout, stderr }: ProcessStreams): void {
  const blocked = new Set<Writable>();
  const unblock = (sink: Writable) => (): void => {
    if (blocked.delete(sink) && blocked.size === 0) socket.resume();
  };
  for (const sink of [stdout, stderr]) sink?.on("drain", unblock(sink)).on("close", unblock(sink));
  socket.on("data", (packet: Uint8Array) => {
    const sink = packet[0] === STDOUT ? stdout : packet[0] === STDERR ? stderr : undefined;
    if (sink === undefined || sink.destroyed || sink.writableEnded || sink.write(packet.subarray(1))) return;
    blocked.add(sink);
    socket.pause();
  });
}

function feed(socket: Socket, stdin: Readable, end: () => void): void {
  stdin.on("data", (chunk: Uint8Array) => {
    if (socket.destroyed) return;
    let isFree = true;
    for (let at = 0; at < chunk.length; at += MAX_PACKET_BYTES) {
      isFree = socket.write(chunk.subarray(at, at + MAX_PACKET_BYTES));
    }
    if (!isFree) stdin.pause();
  });
  socket.on("drain", () => stdin.resume());
  socket.once("close", () => stdin.resume());
  stdin.once("end", () => {
    if (socket.writableLength === 0) end();
    else socket.once("drain", end);
  });
}
