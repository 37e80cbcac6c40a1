import { connect, type Socket } from "node:net";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

const RUNTIME = "nri.pkg.api.v1alpha1.Runtime";
/** Connections on the shared socket: the plugin serves the first and calls over the second. */
const SERVED = 1;
const CALLED = 2;
const REQUEST = 1;
const RESPONSE = 2;
const FRAME_HEADER_BYTES = 8;
const MESSAGE_HEADER_BYTES = 10;

/** An error that a plugin answers with, or gets. */
export class StatusError extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** What the plugin does for each method that is called on it; a method that is missing is answered as unimplemented. */
export type Handlers = Readonly<Record<string, (payload: Uint8Array) => Uint8Array | Promise<Uint8Array>>>;

/**
 * The plugin's side of the Node Resource Interface, byte by byte: framing of the shared socket, ttrpc, registration.
 * What messages say is left to the test.
 */
export class FakePlugin implements Disposable {
  /** Sizes of the frames that came, in order. */
  readonly frameSizes: number[] = [];
  /** Methods that were called, in order. */
  readonly calls: string[] = [];
  readonly #waiting = new Map<number, PromiseWithResolvers<Uint8Array>>();
  readonly #closed = Promise.withResolvers<void>();
  #frameBytes: Uint8Array = new Uint8Array();
  readonly #messageBytes = new Map<number, Uint8Array>();
  #stream = 1;

  constructor(readonly socket: Socket, private readonly handlers: Handlers) {
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#closed.resolve();
      for (const waiting of this.#waiting.values()) waiting.reject(new Error("connection closed"));
    });
  }

  /** Connects to a socket, registers, and resolves when that is answered. */
  static async connect(
    path: string,
    identity: { index: string; name: string },
    handlers: Handlers,
  ): Promise<FakePlugin> {
    const plugin = await FakePlugin.open(path, handlers);
    await plugin.register(identity);
    return plugin;
  }

  /** Connects and says nothing. */
  static open(path: string, handlers: Handlers = {}): Promise<FakePlugin> {
    const { promise, resolve, reject } = Promise.withResolvers<FakePlugin>();
    const socket = connect(path, () => resolve(new FakePlugin(socket, handlers)));
    socket.once("error", reject);
    return promise;
  }

  /** Resolves when the other side has closed the connection. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  async register({ index, name }: { index: string; name: string }): Promise<void> {
    const request = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name)
      .tag(2, WireType.LengthDelimited).string(index).finish();
    await this.call("RegisterPlugin", request);
  }

  /** Calls a method of the runtime. */
  call(method: string, payload: Uint8Array, service = RUNTIME): Promise<Uint8Array> {
    const stream = this.#stream;
    this.#stream += 2;
    const waiting = Promise.withResolvers<Uint8Array>();
    this.#waiting.set(stream, waiting);
    const request = new BinaryWriter().tag(1, WireType.LengthDelimited).string(service)
      .tag(2, WireType.LengthDelimited).string(method).tag(3, WireType.LengthDelimited).bytes(payload).finish();
    this.#send(CALLED, { stream, type: REQUEST, payload: request });
    return waiting.promise;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #receive(chunk: Uint8Array): void {
    let rest = concat(this.#frameBytes, chunk);
    while (rest.length >= FRAME_HEADER_BYTES) {
      const header = new DataView(rest.buffer, rest.byteOffset);
      const endsAt = FRAME_HEADER_BYTES + header.getUint32(4);
      if (rest.length < endsAt) break;
      this.frameSizes.push(header.getUint32(4));
      this.#receiveFrame(header.getUint32(0), rest.slice(FRAME_HEADER_BYTES, endsAt));
      rest = rest.slice(endsAt);
    }
    this.#frameBytes = rest;
  }

  #receiveFrame(connection: number, payload: Uint8Array): void {
    let rest = concat(this.#messageBytes.get(connection) ?? new Uint8Array(), payload);
    while (rest.length >= MESSAGE_HEADER_BYTES) {
      const header = new DataView(rest.buffer, rest.byteOffset);
      const endsAt = MESSAGE_HEADER_BYTES + header.getUint32(0);
      if (rest.length < endsAt) break;
      const body = rest.slice(MESSAGE_HEADER_BYTES, endsAt);
      if (connection === SERVED) void this.#serve(header.getUint32(4), body);
      else this.#settle(header.getUint32(4), body);
      rest = rest.slice(endsAt);
    }
    this.#messageBytes.set(connection, rest);
  }

  async #serve(stream: number, body: Uint8Array): Promise<void> {
    const fields = lengthDelimited(body);
    const method = new TextDecoder().decode(fields.get(2));
    this.calls.push(method);
    const handler = this.handlers[method];
    try {
      if (handler === undefined) throw new StatusError(12, `method ${method}`);
      const answer = await handler(fields.get(3) ?? new Uint8Array());
      this.#respond(stream, new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(answer).finish());
    } catch (error) {
      const { code = 2, message } = error as { code?: number; message: string };
      const status = new BinaryWriter().tag(1, WireType.Varint).int32(code)
        .tag(2, WireType.LengthDelimited).string(message).finish();
      this.#respond(stream, new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(status).finish());
    }
  }

  #respond(stream: number, payload: Uint8Array): void {
    this.#send(SERVED, { stream, type: RESPONSE, payload });
  }

  #settle(stream: number, body: Uint8Array): void {
    const fields = lengthDelimited(body);
    const status = fields.get(1);
    const waiting = this.#waiting.get(stream);
    this.#waiting.delete(stream);
    if (status === undefined) return waiting?.resolve(fields.get(2) ?? new Uint8Array());
    const reader = new BinaryReader(status);
    let code = 0;
    let message = "";
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      if (field === 1) code = reader.int32();
      else if (field === 2) message = reader.string();
      else reader.skip(wire);
    }
    waiting?.reject(new StatusError(code, message));
  }

  #send(connection: number, message: { stream: number; type: number; payload: Uint8Array }): void {
    const bytes = new Uint8Array(FRAME_HEADER_BYTES + MESSAGE_HEADER_BYTES + message.payload.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, connection);
    view.setUint32(4, MESSAGE_HEADER_BYTES + message.payload.length);
    view.setUint32(8, message.payload.length);
    view.setUint32(12, message.stream);
    view.setUint8(16, message.type);
    bytes.set(message.payload, FRAME_HEADER_BYTES + MESSAGE_HEADER_BYTES);
    this.socket.write(bytes);
  }
}

function lengthDelimited(body: Uint8Array): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>();
  const reader = new BinaryReader(body);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (wire === WireType.LengthDelimited) fields.set(field, reader.bytes());
    else reader.skip(wire);
  }
  return fields;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
