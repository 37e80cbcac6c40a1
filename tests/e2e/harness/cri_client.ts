import { PATIENCE } from "./patience.ts";
import { Buffer } from "node:buffer";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { ImageServiceDefinition, RuntimeServiceDefinition } from "../../../src/cri/gen/api.ts";

const METHODS = { ...ImageServiceDefinition.methods, ...RuntimeServiceDefinition.methods };
const IMAGE_METHODS: ReadonlySet<string> = new Set(Object.keys(ImageServiceDefinition.methods));
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 120_000 * PATIENCE;

/** Names of all calls of both services, in lower camel case. */
export type MethodName = keyof typeof METHODS;
type RequestOf<Name extends MethodName> = ReturnType<(typeof METHODS)[Name]["requestType"]["decode"]>;
type ResponseOf<Name extends MethodName> = ReturnType<(typeof METHODS)[Name]["responseType"]["decode"]>;

/** Encoder and decoder of one generated message. */
export interface Codec<Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Message;
}

/** A message with `fields` set and all others at their defaults. */
export function message<Message>(codec: Codec<Message>, fields: Partial<Message>): Message {
  return { ...codec.decode(new Uint8Array()), ...fields };
}

/** A client of any CRI socket, with one connection, as the kubelet has. */
export class CriClient implements Disposable {
  readonly #client: Client;

  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    });
  }

  /**
   * Makes one unary call.
   *
   * @param fields of the request; what is left out has its default
   * @throws ServiceError of grpc-js: `code` and `details`
   */
  call<Name extends MethodName>(
    name: Name,
    fields: Partial<RequestOf<Name>>,
    options: { timeoutMs?: number } = {},
  ): Promise<ResponseOf<Name>> {
    const method = METHODS[name];
    const request = method.requestType as unknown as Codec<RequestOf<Name>>;
    const response = method.responseType as unknown as Codec<ResponseOf<Name>>;
    const service = IMAGE_METHODS.has(name) ? ImageServiceDefinition.fullName : RuntimeServiceDefinition.fullName;
    const { promise, resolve, reject } = Promise.withResolvers<ResponseOf<Name>>();
    this.#client.makeUnaryRequest(
      `/${service}/${method.name}`,
      (value: RequestOf<Name>) => Buffer.from(request.encode(value).finish()),
      (bytes: Buffer) => response.decode(bytes),
      message(request, fields),
      new Metadata(),
      { deadline: Date.now() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS) },
      (error: ServiceError | null, value?: ResponseOf<Name>) => {
        if (error !== null) reject(new Error(`${method.name}: ${error.message}`, { cause: error }));
        else if (value === undefined) reject(new Error(`${method.name}: empty answer`));
        else resolve(value);
      },
    );
    return promise;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** The gRPC code of what {@link CriClient.call} threw, or undefined. */
export function codeOf(thrown: unknown): number | undefined {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  return typeof cause === "object" && cause !== null && "code" in cause ? Number(cause.code) : undefined;
}
