import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import {
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerOptions,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { UnimplementedError } from "../base/errors.ts";
import { ImageServiceDefinition, RuntimeServiceDefinition } from "./gen/api.ts";
import { withGuardedSessions } from "./_http2_guard.ts";
import { serverStream, type StreamHandler } from "./stream.ts";
import { type CallDeps, type MethodCodec, unary, type UnaryHandler } from "./unary.ts";

/** The handler that an entry of a generated service definition asks for. */
type HandlerOf<Method> = Method extends {
  requestType: { decode(input: never): infer Request };
  responseType: { decode(input: never): infer Response };
  responseStream: infer Streaming;
} ? Streaming extends true ? StreamHandler<Request, Response> : UnaryHandler<Request, Response>
  : never;

type HandlersOf<Methods> = { readonly [Name in keyof Methods]?: HandlerOf<Methods[Name]> };

/** Handlers of RuntimeService by method name in lower camel case; what is absent answers UNIMPLEMENTED. */
export type RuntimeHandlers = HandlersOf<typeof RuntimeServiceDefinition.methods>;
/** Handlers of ImageService. */
export type ImageHandlers = HandlersOf<typeof ImageServiceDefinition.methods>;

/** Limits of the server. */
export interface CriServerOptions {
  /** Largest request, in bytes; 0 or less is the default of 80 MiB, as in crio.conf. */
  readonly maxReceiveBytes?: number;
  /** Largest response, in bytes; 0 or less is the default of 80 MiB. */
  readonly maxSendBytes?: number;
}

const DEFAULT_MESSAGE_BYTES = 80 * 1024 * 1024;

/** One method of a generated service definition, without its types. */
interface AnyMethod {
  readonly name: string;
  readonly requestType: { decode(input: Uint8Array): unknown };
  readonly responseType: { encode(message: never): { finish(): Uint8Array } };
  readonly responseStream: boolean;
}

interface AnyService {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, AnyMethod>>;
}

type AnyHandler = UnaryHandler<unknown, unknown> & StreamHandler<unknown, unknown>;

/**
 * The gRPC side of the daemon. It has no listener of its own: connections come from `socket.ts` by `accept`.
 */
export class CriServer {
  readonly #server: Server;
  readonly #injector: ReturnType<Server["createConnectionInjector"]>;

  constructor(
    handlers: { readonly runtime: RuntimeHandlers; readonly image: ImageHandlers },
    options: CriServerOptions,
    deps: CallDeps,
  ) {
    this.#server = new Server(grpcOptions(options));
    this.#add(RuntimeServiceDefinition, handlers.runtime, deps);
    this.#add(ImageServiceDefinition, handlers.image, deps);
    this.#injector = withGuardedSessions(() =>
      this.#server.createConnectionInjector(ServerCredentials.createInsecure())
    );
  }

  /** Takes over a connection on which a client begins to speak HTTP/2. */
  accept(connection: Duplex): void {
    this.#injector.injectConnection(connection);
  }

  /**
   * Takes no new calls and resolves when the running ones have ended; those that still run after `graceMs` are cut off.
   */
  async close(options: { graceMs: number }): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#server.forceShutdown();
      // A session whose last call was cancelled at its end may never close: grpc-js would not tell then.
      resolve();
    }, options.graceMs);
    this.#server.tryShutdown(() => resolve());
    await promise;
    clearTimeout(timer);
  }

  #add(service: AnyService, handlers: Readonly<Record<string, unknown>>, deps: CallDeps): void {
    const definition: Record<string, MethodDefinition<Uint8Array, Uint8Array>> = {};
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const [key, method] of Object.entries(service.methods)) {
      const path = `/${service.fullName}/${method.name}`;
      definition[key] = rawMethod(path, method.responseStream);
      // The public types of the handler tables guarantee that a handler fits its method.
      const handler = (handlers[key] ?? unimplemented(path)) as AnyHandler;
      const wrap = method.responseStream ? serverStream : unary;
      implementation[key] = wrap(codecOf(path, method), handler, deps) as UntypedHandleCall;
    }
    this.#server.addService(definition, implementation);
  }
}

function codecOf(path: string, method: AnyMethod): MethodCodec<unknown, unknown> {
  return {
    name: method.name,
    path,
    decodeRequest: (bytes): unknown => method.requestType.decode(bytes),
    encodeResponse: (response): Uint8Array => method.responseType.encode(response as never).finish(),
  };
}

/** Bytes in, bytes out: the wrappers decode and encode, so that a bad message is an ordinary, logged failure. */
function rawMethod(path: string, responseStream: boolean): MethodDefinition<Uint8Array, Uint8Array> {
  return {
    path,
    requestStream: false,
    responseStream,
    requestSerialize: asBuffer,
    requestDeserialize: (bytes): Uint8Array => bytes,
    responseSerialize: asBuffer,
    responseDeserialize: (bytes): Uint8Array => bytes,
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function unimplemented(path: string): () => never {
  return (): never => {
    throw new UnimplementedError(`${path} is not implemented by this version of crio`);
  };
}

function grpcOptions(options: CriServerOptions): ServerOptions {
  return {
    "grpc.max_receive_message_length": positive(options.maxReceiveBytes) ?? DEFAULT_MESSAGE_BYTES,
    "grpc.max_send_message_length": positive(options.maxSendBytes) ?? DEFAULT_MESSAGE_BYTES,
    // Bookkeeping that nobody here asks for.
    "grpc.enable_channelz": 0,
  };
}

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}
