/**
 * A CRI client that speaks our codec.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  type CallOptions,
  Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  type status,
} from "@grpc/grpc-js";
import { ImageServiceDefinition, RuntimeServiceDefinition } from "../../src/cri/gen/api.ts";

type Methods = typeof RuntimeServiceDefinition.methods & typeof ImageServiceDefinition.methods;
type RequestOf<M> = M extends { requestType: { decode(input: never): infer R } } ? R : never;
type ResponseOf<M> = M extends { responseType: { decode(input: never): infer R } } ? R : never;

interface AnyMethod {
  readonly name: string;
  readonly requestType: { encode(message: never): { finish(): Uint8Array }; decode(input: Uint8Array): unknown };
  readonly responseType: { decode(input: Uint8Array): unknown };
}

/** A failed call as the client sees it. */
export class CallError extends Error {
  constructor(readonly code: status, readonly details: string) {
    super(`${code} ${details}`);
  }
}

/** A server stream that is under way. */
export interface OpenStream {
  /** Resolves with the code that it failed with, or undefined at an ordinary end. */
  readonly ended: Promise<status | undefined>;
  cancel(): void;
  pause(): void;
  resume(): void;
}

/** A gRPC client on a unix socket. */
export class CriClient implements Disposable {
  readonly #client: Client;

  constructor(path: string) {
    this.#client = new Client(`unix:${path}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": 80 * 1024 * 1024,
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  /** Calls an RPC; absent request fields take their defaults. */
  call<Name extends keyof Methods & string>(
    name: Name,
    request: Partial<RequestOf<Methods[Name]>> = {},
    options: { signal?: AbortSignal; deadlineMs?: number } = {},
  ): Promise<ResponseOf<Methods[Name]>> {
    const service = name in RuntimeServiceDefinition.methods ? RuntimeServiceDefinition : ImageServiceDefinition;
    const method = (service.methods as unknown as Readonly<Record<string, AnyMethod>>)[name];
    if (method === undefined) throw new Error(`no method ${name}`);
    const whole = { ...method.requestType.decode(new Uint8Array()) as object, ...request };
    const bytes = method.requestType.encode(whole as never).finish();
    return this.raw(`/${service.fullName}/${method.name}`, bytes, options)
      .then((answer) => method.responseType.decode(answer) as ResponseOf<Methods[Name]>);
  }

  /** Sends bytes as they are. */
  raw(
    path: string,
    bytes: Uint8Array,
    options: { signal?: AbortSignal; deadlineMs?: number } = {},
  ): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const callOptions: CallOptions = options.deadlineMs === undefined
      ? {}
      : { deadline: Date.now() + options.deadlineMs };
    const call: ClientUnaryCall = this.#client.makeUnaryRequest(
      path,
      (value: Uint8Array) => Buffer.from(value.buffer, value.byteOffset, value.byteLength),
      (value: Buffer): Uint8Array => value,
      bytes,
      new Metadata(),
      callOptions,
      (error: ServiceError | null, value?: Uint8Array) => {
        if (error !== null) reject(new CallError(error.code, error.details));
        else resolve(value ?? new Uint8Array());
      },
    );
    options.signal?.addEventListener("abort", () => call.cancel(), { once: true });
    return promise;
  }

  /** Reads a whole server stream, or cancels it after so many messages. */
  async stream(path: string, bytes: Uint8Array, options: { cancelAfter?: number } = {}): Promise<Uint8Array[]> {
    const messages: Uint8Array[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const call = this.#client.makeServerStreamRequest(
      path,
      (value: Uint8Array) => Buffer.from(value),
      (value: Buffer): Uint8Array => value,
      bytes,
    );
    call.on("data", (message: Uint8Array) => {
      messages.push(message);
      if (messages.length === options.cancelAfter) call.cancel();
    });
    call.on("error", (error: ServiceError) => reject(new CallError(error.code, error.details)));
    call.on("end", resolve);
    await promise;
    return messages;
  }

  /** Opens a server stream that stays open; `pause` makes a client that hangs. */
  open(path: string, bytes: Uint8Array, onMessage: (message: Uint8Array) => void): OpenStream {
    const call = this.#client.makeServerStreamRequest(
      path,
      (value: Uint8Array) => Buffer.from(value),
      (value: Buffer): Uint8Array => value,
      bytes,
    );
    const { promise: ended, resolve } = Promise.withResolvers<status | undefined>();
    call.on("data", onMessage);
    call.on("error", (error: ServiceError) => resolve(error.code));
    call.on("end", () => resolve(undefined));
    return {
      ended,
      cancel: () => call.cancel(),
      pause: () => void call.pause(),
      resume: () => void call.resume(),
    };
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
