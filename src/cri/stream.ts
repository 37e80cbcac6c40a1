import type { ServerWritableStream } from "@grpc/grpc-js";
import {
  Call,
  type CallDeps,
  type CallMetrics,
  decodeRequest,
  type EncodedResponse,
  encodeResponse,
  type MethodCodec,
  type RequestContext,
} from "./unary.ts";

/** Answers one request with any number of messages; has to stop when the signal aborts. */
export type StreamHandler<Request, Response> = (
  request: Request,
  context: RequestContext,
) => AsyncIterable<Response | EncodedResponse>;

/** Metrics count unary calls only, as in CRI-O: a stream of events lasts as long as its client. */
const UNCOUNTED: CallMetrics = { observe: (): void => {} };

/** The wrapper of every server-streaming RPC: as `unary`, and a slow client slows the handler down. */
export function serverStream<Request, Response>(
  method: MethodCodec<Request, Response>,
  handler: StreamHandler<Request, Response>,
  deps: CallDeps,
): (call: ServerWritableStream<Uint8Array, Uint8Array>) => void {
  return (grpcCall): void => {
    const call = new Call(method, { ...deps, metrics: UNCOUNTED }, grpcCall);
    send(method, { call, handler, to: grpcCall }).then(() => {
      call.succeed();
      grpcCall.end();
    }, (thrown: unknown) => {
      // grpc-js makes an error event the status of the call.
      grpcCall.emit("error", call.fail(thrown));
    });
  };
}

async function send<Request, Response>(
  method: MethodCodec<Request, Response>,
  { call, handler, to }: {
    call: Call;
    handler: StreamHandler<Request, Response>;
    to: ServerWritableStream<Uint8Array, Uint8Array>;
  },
): Promise<void> {
  const { signal } = call.context;
  for await (const message of handler(decodeRequest(method, to.request), call.context)) {
    signal.throwIfAborted();
    if (!to.write(encodeResponse(method, message))) await drained(to, signal);
  }
}

function drained(stream: ServerWritableStream<Uint8Array, Uint8Array>, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onDrain = (): void => {
    signal.removeEventListener("abort", onAbort);
    resolve();
  };
  const onAbort = (): void => {
    stream.off("drain", onDrain);
    reject(signal.reason);
  };
  if (signal.aborted) return Promise.reject(signal.reason);
  stream.once("drain", onDrain);
  signal.addEventListener("abort", onAbort, { once: true });
  return promise;
}
