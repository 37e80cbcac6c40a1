import { deepEqual, equal, match } from "node:assert/strict";
import { type sendUnaryData, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { InternalError, NotFoundError } from "../../../src/base/errors.ts";
import type { LogFields, Logger } from "../../../src/base/logger.ts";
import { EncodedResponse, type MethodCodec, type RequestContext, unary } from "../../../src/cri/unary.ts";
import { FakeMetrics } from "../../fakes/cri_operations.ts";

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

class RecordingLogger implements Logger {
  constructor(readonly lines: Line[] = [], private readonly bound: LogFields = {}) {}
  error = (message: string, fields: LogFields = {}): void => this.#add("error", { message, fields });
  warn = (message: string, fields: LogFields = {}): void => this.#add("warn", { message, fields });
  info = (message: string, fields: LogFields = {}): void => this.#add("info", { message, fields });
  debug = (message: string, fields: LogFields = {}): void => this.#add("debug", { message, fields });
  trace = (message: string, fields: LogFields = {}): void => this.#add("trace", { message, fields });
  with(fields: LogFields): Logger {
    return new RecordingLogger(this.lines, { ...this.bound, ...fields });
  }
  #add(level: string, { message, fields }: { message: string; fields: LogFields }): void {
    this.lines.push({ level, message, fields: { ...this.bound, ...fields } });
  }
}

const codec: MethodCodec<string, string> = {
  name: "Echo",
  path: "/x.Y/Echo",
  decodeRequest: (bytes) => {
    if (bytes.length === 0) throw new RangeError("index out of range");
    return new TextDecoder().decode(bytes);
  },
  encodeResponse: (text) => new TextEncoder().encode(text),
};

interface Outcome {
  readonly error: { readonly code?: number; readonly details?: string } | null;
  readonly bytes: Uint8Array | null | undefined;
}

class Harness {
  readonly log = new RecordingLogger();
  readonly metrics = new FakeMetrics();
  cancel: () => void = () => {};

  call(
    handler: (request: string, context: RequestContext) => Promise<string | EncodedResponse> | string,
    { request = "hi", deadline = Infinity }: { request?: string; deadline?: number } = {},
  ): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const answer: sendUnaryData<Uint8Array> = (error, bytes) => resolve({ error, bytes });
    const call = {
      request: new TextEncoder().encode(request),
      getDeadline: () => deadline,
      once: (_event: string, listener: () => void) => {
        this.cancel = listener;
      },
    };
    unary(codec, handler, this)(call as unknown as ServerUnaryCall<Uint8Array, Uint8Array>, answer);
    return promise;
  }
}

Deno.test("unary() decodes, calls and encodes", async () => {
  const harness = new Harness();
  const outcome = await harness.call((request) => `${request}!`);
  equal(outcome.error, null);
  equal(new TextDecoder().decode(outcome.bytes ?? undefined), "hi!");
  deepEqual(harness.metrics.observed, [{ operation: "Echo", failed: false }]);
});

Deno.test("unary() passes encoded bytes on as they are", async () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const outcome = await new Harness().call(() => Promise.resolve(new EncodedResponse(bytes)));
  equal(outcome.bytes, bytes);
});

Deno.test("unary() gives each line the request's id and name", async () => {
  const harness = new Harness();
  let requestId = "";
  await harness.call((_request, context) => {
    requestId = context.requestId;
    context.log.info("working");
    return "";
  });
  match(requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/);
  equal(harness.log.lines.length, 3);
  for (const { fields } of harness.log.lines) {
    equal(fields["id"], requestId);
    equal(fields["name"], "/x.Y/Echo");
  }
});

Deno.test("unary() answers what was thrown, at once or later, with its code", async () => {
  const harness = new Harness();
  const failed = await harness.call(() => Promise.reject(new NotFoundError("pod", "x")));
  deepEqual(failed.error, { code: status.NOT_FOUND, details: 'pod "x" not found' });
  const thrown = await harness.call(() => {
    throw new TypeError("boom");
  });
  deepEqual(thrown.error, { code: status.INTERNAL, details: "boom" });
  const undecodable = await harness.call(() => "", { request: "" });
  equal(undecodable.error?.code, status.INVALID_ARGUMENT);
  equal(undecodable.error?.details, "decode request of Echo: index out of range");
  equal(harness.metrics.observed.filter(({ failed }) => failed).length, 3);
});

Deno.test("unary() logs a fault of the node loudly, one of the client quietly, and what a clean-up threw", async () => {
  const harness = new Harness();
  await harness.call(() => Promise.reject(new NotFoundError("pod", "x")));
  deepEqual(harness.log.lines.map(({ level }) => level), ["debug", "debug"]);
  harness.log.lines.length = 0;
  const suppressed = new SuppressedError(new Error("unmount: busy"), new InternalError("no space"), "");
  await harness.call(() => Promise.reject(suppressed));
  const loud = harness.log.lines.filter(({ level }) => level !== "debug").map(({ level, message }) =>
    `${level} ${message}`
  );
  deepEqual(loud, ["error request failed: no space", "warn and its clean-up failed: unmount: busy"]);
});

Deno.test("unary() aborts with the deadline or with the client's cancel, and not after the end", async () => {
  const reasonOf = async (deadline: number): Promise<string> => {
    const harness = new Harness();
    const outcome = harness.call((_request, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        queueMicrotask(() => harness.cancel());
      }), { deadline });
    return status[(await outcome).error?.code ?? 0] ?? "";
  };
  equal(await reasonOf(Date.now() - 5), "DEADLINE_EXCEEDED");
  equal(await reasonOf(Date.now() + 60_000), "CANCELLED");
  equal(await reasonOf(Infinity), "CANCELLED");
  const harness = new Harness();
  const signals: AbortSignal[] = [];
  await harness.call((_request, { signal }) => {
    signals.push(signal);
    return "";
  });
  harness.cancel();
  deepEqual(signals.map(({ aborted }) => aborted), [false]);
});
