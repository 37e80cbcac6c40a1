import type { Socket } from "node:net";
import { messageOf, ResourceExhaustedError } from "../base/errors.ts";
import { abortable } from "../base/keyed_mutex.ts";
import { CallStatus, PluginLost, ProtocolError } from "./errors.ts";
import { encodeMessage, FrameReader, MAX_MESSAGE_BYTES, MESSAGE, type Message, MessageReader } from "./frames.ts";
import { Request, Response } from "./gen/ttrpc.ts";

/** gRPC status codes that are used here. */
export const CODE = { ok: 0, unknown: 2, invalidArgument: 3, resourceExhausted: 8, unimplemented: 12 } as const;

/** Over this connection we call the plugin; over the other one the plugin calls us (nri, pkg/net/multiplex/ttrpc.go). */
const PLUGIN_CONNECTION = 1;
const RUNTIME_CONNECTION = 2;
/** Calls of one plugin that are worked on at a time; real ones make one. */
const MAX_SERVED = 16;
/** What a plugin that does not read may let pile up here. */
const MAX_UNSENT_BYTES = 4 * MAX_MESSAGE_BYTES;

/** The last answers have this long to leave. */
const FLUSH_MS = 500;

/** What a plugin may call. */
export interface CallServer {
  /** @throws CallStatus, or anything else, which becomes an UNKNOWN with its message */
  serve(call: { readonly service: string; readonly method: string; readonly payload: Uint8Array }): Promise<Uint8Array>;
}

/** The largest payload of a call, which travels in an envelope with the names of service and method. */
export class OversizedMessage extends ResourceExhaustedError {
  constructor(readonly sizeBytes: number) {
    super(`message of ${sizeBytes} bytes, at most ${MAX_MESSAGE_BYTES} are allowed`);
  }
}

/**
 * The socket between us and one plugin, which carries two ttrpc connections: one for each direction of calls.
 *
 * Life: made with a connected, paused socket -> `start` -> calls in both directions -> closed by either side, by
 * garbage, or by `close`; all calls that wait then fail, and `closed` resolves.
 */
export class PluginSocket {
  readonly #frames = new FrameReader();
  readonly #answers = new MessageReader();
  readonly #requests = new MessageReader();
  readonly #waiting = new Map<number, PromiseWithResolvers<Response>>();
  readonly #closed = Promise.withResolvers<string>();
  #nextStream = 1;
  #lastServed = 0;
  #served = 0;
  #reason: string | undefined;

  constructor(private readonly socket: Socket, private readonly server: CallServer) {
    socket.on("error", (error) => this.close(messageOf(error)));
    socket.once("close", () => this.close("the plugin closed it"));
  }

  /** Begins to read. */
  start(): void {
    this.socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    this.socket.on("end", () => this.close("the plugin closed it"));
  }

  /** Resolves with the reason once the socket is closed; never rejects. */
  get closed(): Promise<string> {
    return this.#closed.promise;
  }

  get isClosed(): boolean {
    return this.#reason !== undefined;
  }

  /**
   * Calls a method of the plugin.
   *
   * @returns the payload of the answer
   * @throws CallStatus when the plugin answers with an error; PluginLost when it does not answer; OversizedMessage; the
   * signal's reason
   */
  async call(
    { service, method, payload }: { readonly service: string; readonly method: string; readonly payload: Uint8Array },
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<Uint8Array> {
    if (this.#reason !== undefined) throw new PluginLost(`connection closed: ${this.#reason}`, "closed");
    const timeoutNano = BigInt(Math.ceil(options.timeoutMs)) * 1_000_000n;
    const request = Request.encode({ service, method, payload, timeoutNano, metadata: [] }).finish();
    if (request.length > MAX_MESSAGE_BYTES) throw new OversizedMessage(request.length);
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const waiting = Promise.withResolvers<Response>();
    this.#waiting.set(stream, waiting);
    const timer = setTimeout(() => {
      waiting.reject(new PluginLost(`no answer to ${method} within ${options.timeoutMs} ms`, "timeout"));
    }, options.timeoutMs);
    try {
      this.#send(PLUGIN_CONNECTION, { stream, type: MESSAGE.request, payload: request });
      const { status, payload: answer } = await abortable(waiting.promise, options.signal);
      if (status === undefined || status.code === CODE.ok) return answer;
      throw new CallStatus(status.code, status.message);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(stream);
      // Nobody listens any more when the signal ended the call.
      waiting.promise.catch(() => {});
    }
  }

  /** Closes it for this reason; does nothing the second time. */
  close(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    if (!this.socket.destroyed) {
      // What was written goes out, if the plugin reads it.
      this.socket.destroySoon();
      const cut = setTimeout(() => this.socket.destroy(), FLUSH_MS);
      this.socket.once("close", () => clearTimeout(cut));
    }
    const lost = new PluginLost(`connection closed: ${reason}`, "closed");
    for (const waiting of this.#waiting.values()) waiting.reject(lost);
    this.#waiting.clear();
    this.#closed.resolve(reason);
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const { connection, payload } of this.#frames.push(chunk)) {
        if (connection === PLUGIN_CONNECTION) {
          for (const message of this.#answers.push(payload)) this.#takeAnswer(message);
        } else if (connection === RUNTIME_CONNECTION) {
          for (const message of this.#requests.push(payload)) this.#takeRequest(message);
        }
        if (this.#reason !== undefined) return;
      }
    } catch (error) {
      this.close(`not the protocol: ${messageOf(error)}`);
    }
  }

  #takeAnswer({ stream, type, payload }: Message): void {
    // An answer that comes too late has nobody who waits for it.
    const waiting = this.#waiting.get(stream);
    if (waiting === undefined) return;
    if (type !== MESSAGE.response) throw new ProtocolError(`message of type ${type} instead of an answer`);
    waiting.resolve(Response.decode(payload));
  }

  #takeRequest({ stream, type, payload }: Message): void {
    if (type === MESSAGE.data) return this.#answer(stream, failure(CODE.invalidArgument, "no streams here"));
    if (type !== MESSAGE.request) return;
    if (stream % 2 !== 1 || stream <= this.#lastServed) {
      return this.#answer(stream, failure(CODE.invalidArgument, `stream ${stream} cannot be used`));
    }
    this.#lastServed = stream;
    if (this.#served === MAX_SERVED) {
      return this.#answer(stream, failure(CODE.resourceExhausted, `${MAX_SERVED} calls are being worked on`));
    }
    this.#served += 1;
    this.server.serve(Request.decode(payload)).then(
      (answer) => ({ status: undefined, payload: answer }),
      (error) => failure(error instanceof CallStatus ? error.code : CODE.unknown, messageOf(error)),
    ).then((response) => {
      this.#served -= 1;
      this.#answer(stream, response);
    });
  }

  #answer(stream: number, response: Response): void {
    let payload = Response.encode(response).finish();
    if (payload.length > MAX_MESSAGE_BYTES) {
      const { message } = new OversizedMessage(payload.length);
      payload = Response.encode(failure(CODE.resourceExhausted, message)).finish();
    }
    this.#send(RUNTIME_CONNECTION, { stream, type: MESSAGE.response, payload });
  }

  #send(connection: number, message: Message): void {
    if (this.#reason !== undefined) return;
    this.socket.cork();
    for (const part of encodeMessage(connection, message)) this.socket.write(part);
    this.socket.uncork();
    if (this.socket.writableLength > MAX_UNSENT_BYTES) this.close("the plugin does not read");
  }
}

function failure(code: number, message: string): Response {
  return { status: { code, message }, payload: new Uint8Array() };
}
