import { type sendUnaryData, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { firstFailure, InvalidArgumentError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type GrpcStatus, toStatus } from "./status.ts";

/** What a handler knows of its call besides the request. */
export interface RequestContext {
  /** Aborts when the client's deadline passes (TimeoutError) or the client goes away (AbortError). */
  readonly signal: AbortSignal;
  /** Has `id` and `name` on each line. */
  readonly log: Logger;
  readonly requestId: string;
}

/** An answer that is encoded already, such as a list that was put together from cached items. */
export class EncodedResponse {
  constructor(readonly bytes: Uint8Array) {}
}

/** Answers one request. */
export type UnaryHandler<Request, Response> = (
  request: Request,
  context: RequestContext,
) => Response | EncodedResponse | Promise<Response | EncodedResponse>;

/** Told of the end of every call. */
export interface CallMetrics {
  /** @param operation name of the RPC, e.g. `RunPodSandbox` */
  observe(operation: string, durationMs: number, failed: boolean): void;
}

/** What the wrappers work with. */
export interface CallDeps {
  readonly log: Logger;
  readonly metrics: CallMetrics;
}

/** Name and codec of an RPC. */
export interface MethodCodec<Request, Response> {
  /** `RunPodSandbox` */
  readonly name: string;
  /** `/runtime.v1.RuntimeService/RunPodSandbox` */
  readonly path: string;
  decodeRequest(bytes: Uint8Array): Request;
  encodeResponse(response: Response): Uint8Array;
}

/** The part of a grpc-js call that both wrappers use. */
export interface CancellableCall {
  getDeadline(): Date | number;
  once(event: "cancelled", listener: () => void): unknown;
}

/** One call from its first byte to its status. */
export class Call {
  readonly context: RequestContext;
  readonly #beganMs = performance.now();
  readonly #abort = new AbortController();
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(
    private readonly method: { readonly name: string; readonly path: string },
    private readonly deps: CallDeps,
    grpcCall: CancellableCall,
  ) {
    const requestId = crypto.randomUUID();
    const log = deps.log.with({ id: requestId, name: method.path });
    this.context = { signal: this.#abort.signal, log, requestId };
    // grpc-js sends this at the deadline, when the client cancels or is gone, and after the end of every call.
    grpcCall.once("cancelled", () => {
      if (!this.#ended) this.#abort.abort(abortReason(grpcCall));
    });
    this.#watchDeadline(Number(grpcCall.getDeadline()) - Date.now());
    log.debug("request");
  }

  succeed(): void {
    const durationMs = this.#end({ failed: false });
    this.context.log.debug("response", { durationMs });
  }

  /** Logs the failure and says what to answer. */
  fail(thrown: unknown): GrpcStatus {
    const durationMs = this.#end({ failed: true });
    const answer = toStatus(thrown);
    const fields = { code: status[answer.code] ?? String(answer.code), durationMs };
    const { log } = this.context;
    if (LOUD.has(answer.code)) log.error(`request failed: ${answer.details}`, fields);
    else log.debug(`request failed: ${answer.details}`, fields);
    for (let error = thrown; error instanceof SuppressedError; error = error.suppressed) {
      log.warn(`and its clean-up failed: ${messageOf(error.error)}`);
    }
    const first = firstFailure(thrown);
    if (answer.code === status.INTERNAL && first instanceof Error && first.stack !== undefined) log.debug(first.stack);
    return answer;
  }

  /** A client stops listening at its deadline: an answer that says what took so long has to come a little before. */
  #watchDeadline(leftMs: number): void {
    if (leftMs > LONGEST_TIMER_MS || leftMs <= 0) return;
    const marginMs = Math.min(ANSWER_MS, leftMs / 2);
    this.#deadline = setTimeout(() => {
      this.#abort.abort(new DOMException("the request's deadline has come", "TimeoutError"));
    }, leftMs - marginMs);
  }

  #end({ failed }: { failed: boolean }): number {
    this.#ended = true;
    clearTimeout(this.#deadline);
    const durationMs = Math.round((performance.now() - this.#beganMs) * 1000) / 1000;
    this.deps.metrics.observe(this.method.name, durationMs, failed);
    return durationMs;
  }
}

/** Time before a client's deadline that is kept for the answer; half of it, when it is short. */
const ANSWER_MS = 50;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Codes that speak of a fault of this node rather than of the request. */
const LOUD: ReadonlySet<status> = new Set([
  status.UNKNOWN,
  status.INTERNAL,
  status.DATA_LOSS,
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.DEADLINE_EXCEEDED,
  status.PERMISSION_DENIED,
]);

/**
 * The one wrapper of every unary RPC: decode, request id, deadline and cancel to one signal, log, metrics, handler,
 * status, encode.
 */
export function unary<Request, Response>(
  method: MethodCodec<Request, Response>,
  handler: UnaryHandler<Request, Response>,
  deps: CallDeps,
): (call: ServerUnaryCall<Uint8Array, Uint8Array>, answer: sendUnaryData<Uint8Array>) => void {
  return (grpcCall, answer): void => {
    const call = new Call(method, deps, grpcCall);
    answerUnary(method, { call, handler, bytes: grpcCall.request }).then((bytes) => {
      call.succeed();
      answer(null, bytes);
    }, (thrown: unknown) => answer(call.fail(thrown)));
  };
}

async function answerUnary<Request, Response>(
  method: MethodCodec<Request, Response>,
  { call, handler, bytes }: { call: Call; handler: UnaryHandler<Request, Response>; bytes: Uint8Array },
): Promise<Uint8Array> {
  const response = await handler(decodeRequest(method, bytes), call.context);
  return encodeResponse(method, response);
}

/** @throws InvalidArgumentError when the bytes are not such a message */
export function decodeRequest<Request>(
  method: Pick<MethodCodec<Request, never>, "name" | "decodeRequest">,
  bytes: Uint8Array,
): Request {
  try {
    return method.decodeRequest(bytes);
  } catch (error) {
    throw new InvalidArgumentError(`decode request of ${method.name}: ${messageOf(error)}`, { cause: error });
  }
}

/** The bytes of a response, whichever form the handler gave it in. */
export function encodeResponse<Response>(
  method: Pick<MethodCodec<never, Response>, "encodeResponse">,
  response: Response | EncodedResponse,
): Uint8Array {
  return response instanceof EncodedResponse ? response.bytes : method.encodeResponse(response);
}

function abortReason(call: CancellableCall): DOMException {
  const deadline = Number(call.getDeadline());
  // The timer behind the deadline and the clock may disagree by a millisecond.
  return Date.now() >= deadline - 1
    ? new DOMException("the client's deadline passed", "TimeoutError")
    : new DOMException("the client cancelled the call or went away", "AbortError");
}
