/**
 * The daemon as its own client: one Status over its own socket, on all the way that a kubelet's call takes. A connection for
 * each check and the few frames of HTTP/2 that it takes, written by hand: no client library stays in memory or leaks.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { UnavailableError } from "../base/errors.ts";
import { StatusResponse } from "./gen/api.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const STATUS_PATH = "/runtime.v1.RuntimeService/Status";
/** RFC 9113, section 6. */
const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, goAway: 7 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const FRAME_HEADER_BYTES = 9;
/** Flag and length of a gRPC message. */
const MESSAGE_HEADER_BYTES = 5;
const STREAM = 1;
/** A Status is a few hundred bytes; what goes beyond is no answer of ours. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Asks for Status once.
 *
 * @param socketPath the daemon's own socket
 * @throws UnavailableError when the answer is not that the runtime is ready; the signal's reason when it takes too long
 */
export async function checkStatus(socketPath: string, options: { readonly signal: AbortSignal }): Promise<void> {
  const { signal } = options;
  signal.throwIfAborted();
  const connection = connect(socketPath);
  const stop = (): void => void connection.destroy(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    connection.write(request());
    const { status } = StatusResponse.decode(await answerOf(connection));
    const ready = status?.conditions.find(({ type }) => type === "RuntimeReady");
    if (ready?.status === true) return;
    throw new UnavailableError(`Status says that the runtime is not ready: ${ready?.reason ?? "no such condition"}`);
  } finally {
    signal.removeEventListener("abort", stop);
    connection.destroy();
  }
}

function request(): Uint8Array {
  const empty = new Uint8Array(MESSAGE_HEADER_BYTES);
  return concat([
    text(PREFACE),
    frame(FRAME.settings, { flags: 0, stream: 0 }),
    frame(FRAME.headers, { flags: END_HEADERS, stream: STREAM, payload: requestHeaders() }),
    frame(FRAME.data, { flags: END_STREAM, stream: STREAM, payload: empty }),
  ]);
}

/** HPACK (RFC 7541) without its table of recent fields: entries of the static table by number, values as they are. */
function requestHeaders(): Uint8Array {
  const value = (bytes: string): number[] => [bytes.length, ...text(bytes)];
  const [methodPost, schemeHttp, authority, path] = [0x83, 0x86, 0x01, 0x04];
  const contentType = [0x0f, 31 - 15];
  return Uint8Array.from([
    ...[methodPost, schemeHttp, authority],
    ...[...value("localhost"), path, ...value(STATUS_PATH)],
    ...[...contentType, ...value("application/grpc")],
    ...[0, ...value("te"), ...value("trailers")],
  ]);
}

/** The message of the answer, once the server has ended the call. Headers are not looked at: only success has a message. */
async function answerOf(connection: Socket): Promise<Uint8Array> {
  let pending = new Uint8Array();
  let body = new Uint8Array();
  for await (const bytes of connection) {
    pending = concat([pending, bytes]);
    for (;;) {
      const next = readFrame(pending);
      if (next === undefined) break;
      pending = pending.slice(next.size);
      const { type, flags, stream, payload } = next;
      if (type === FRAME.settings && (flags & ACK) === 0) {
        connection.write(frame(FRAME.settings, { flags: ACK, stream: 0 }));
      }
      if (type === FRAME.reset || type === FRAME.goAway) throw new UnavailableError("Status was cut off");
      if (stream !== STREAM) continue;
      if (type === FRAME.data) body = concat([body, payload]);
      if ((type === FRAME.data || type === FRAME.headers) && (flags & END_STREAM) !== 0) return messageOf(body);
    }
    if (pending.length + body.length > MAX_ANSWER_BYTES) break;
  }
  throw new UnavailableError("Status was not answered: the connection ended");
}

function messageOf(body: Uint8Array): Uint8Array {
  if (body.length < MESSAGE_HEADER_BYTES) throw new UnavailableError("Status was answered with an error");
  return body.subarray(MESSAGE_HEADER_BYTES);
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Uint8Array;
  /** With its header, bytes. */
  readonly size: number;
}

function readFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length < FRAME_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const size = FRAME_HEADER_BYTES + (view.getUint32(0) >>> 8);
  if (bytes.length < size) return undefined;
  const payload = bytes.subarray(FRAME_HEADER_BYTES, size);
  return { type: view.getUint8(3), flags: view.getUint8(4), stream: view.getUint32(5) & 0x7fffffff, payload, size };
}

function frame(
  type: number,
  { flags, stream, payload = new Uint8Array() }: { flags: number; stream: number; payload?: Uint8Array },
): Uint8Array {
  const header = new DataView(new ArrayBuffer(FRAME_HEADER_BYTES));
  header.setUint32(0, payload.length << 8 | type);
  header.setUint8(4, flags);
  header.setUint32(5, stream);
  return concat([new Uint8Array(header.buffer), payload]);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
