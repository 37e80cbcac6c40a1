/**
 * Messages of D-Bus, as its specification (version 0.43) lays them out, in little-endian order: what a client needs that
 * calls a few methods and hears signals.
 *
 * @module
 */

export const CALL = 1;
export const RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

/** The longest message that is read; those of systemd have some hundred bytes. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
const FIXED_HEADER_BYTES = 16;
/** The letter that says which byte order a message has, and what DataView calls it. */
const LITTLE_ENDIAN_MARK = 0x6c;
const LITTLE_ENDIAN = true;

/** Header fields, by their codes. */
const FIELDS = { path: 1, interface: 2, member: 3, errorName: 4, replySerial: 5, destination: 6 } as const;
const SIGNATURE_FIELD = 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A call that is to be sent. */
export interface MethodCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Types of the arguments; absent without any. */
  readonly signature?: string;
  /** Writes the arguments. */
  readonly body?: (writer: DbusWriter) => void;
}

/** A message that came in. */
export interface IncomingMessage {
  readonly type: number;
  readonly replySerial?: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly signature: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Puts values into bytes, each on its boundary. */
export class DbusWriter {
  #bytes = new Uint8Array(512);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  pad(boundary: number): void {
    this.#grow(boundary);
    this.#length = Math.ceil(this.#length / boundary) * boundary;
  }

  byte(value: number): void {
    this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  uint32(value: number): void {
    this.pad(4);
    this.#grow(4);
    new DataView(this.#bytes.buffer).setUint32(this.#length, value, LITTLE_ENDIAN);
    this.#length += 4;
  }

  /** A string or an object path. */
  string(text: string): void {
    const bytes = encoder.encode(text);
    this.uint32(bytes.length);
    this.raw(bytes);
    this.byte(0);
  }

  signature(text: string): void {
    const bytes = encoder.encode(text);
    this.byte(bytes.length);
    this.raw(bytes);
    this.byte(0);
  }

  raw(bytes: Uint8Array): void {
    this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** An array; its length does not count the padding before its first element. */
  array(boundary: number, writeElements: () => void): void {
    this.uint32(0);
    const lengthAt = this.#length - 4;
    this.pad(boundary);
    const from = this.#length;
    writeElements();
    new DataView(this.#bytes.buffer).setUint32(lengthAt, this.#length - from, LITTLE_ENDIAN);
  }

  #grow(by: number): void {
    if (this.#length + by <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * (this.#bytes.length + by));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** Takes values out of bytes. */
export class DbusReader {
  #at: number;
  readonly #view: DataView;

  constructor(private readonly bytes: Uint8Array<ArrayBuffer>, at = 0) {
    this.#at = at;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get at(): number {
    return this.#at;
  }

  pad(boundary: number): void {
    this.#at = Math.ceil(this.#at / boundary) * boundary;
  }

  byte(): number {
    return this.#view.getUint8(this.#at++);
  }

  uint32(): number {
    this.pad(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, LITTLE_ENDIAN);
  }

  string(): string {
    return this.#text(this.uint32());
  }

  signature(): string {
    return this.#text(this.byte());
  }

  #text(length: number): string {
    const from = this.#at;
    this.#at += length + 1;
    return decoder.decode(this.bytes.subarray(from, from + length));
  }
}

/** The bytes of a call. */
export function encodeCall(call: MethodCall, serial: number): Uint8Array<ArrayBuffer> {
  const body = new DbusWriter();
  call.body?.(body);
  const message = new DbusWriter();
  message.raw(new Uint8Array([LITTLE_ENDIAN_MARK, CALL, 0, 1]));
  message.uint32(body.length);
  message.uint32(serial);
  message.array(8, () => {
    field(message, FIELDS.path, ["o", call.path]);
    field(message, FIELDS.interface, ["s", call.interface]);
    field(message, FIELDS.member, ["s", call.member]);
    field(message, FIELDS.destination, ["s", call.destination]);
    if (call.signature !== undefined) field(message, SIGNATURE_FIELD, ["g", call.signature]);
  });
  message.pad(8);
  message.raw(body.bytes());
  return message.bytes();
}

function field(writer: DbusWriter, code: number, [type, value]: readonly ["o" | "s" | "g", string]): void {
  writer.pad(8);
  writer.byte(code);
  writer.signature(type);
  if (type === "g") writer.signature(value);
  else writer.string(value);
}

/**
 * How long the message is that these bytes begin; undefined while too few are there to tell.
 *
 * @throws Error when it is no message, or too long to be one of those that are awaited
 */
export function messageLength(bytes: Uint8Array<ArrayBuffer>): number | undefined {
  if (bytes.length < FIXED_HEADER_BYTES) return undefined;
  if (bytes[0] !== LITTLE_ENDIAN_MARK) throw new Error(`D-Bus: a message begins with byte ${bytes[0]}`);
  const reader = new DbusReader(bytes, 4);
  const bodyBytes = reader.uint32();
  reader.uint32();
  const fieldBytes = reader.uint32();
  const length = Math.ceil((FIXED_HEADER_BYTES + fieldBytes) / 8) * 8 + bodyBytes;
  if (length > MAX_MESSAGE_BYTES) throw new Error(`D-Bus: a message of ${length} bytes is too long`);
  return length;
}

/** Reads one whole message. @throws Error, RangeError when it is none */
export function decodeMessage(bytes: Uint8Array<ArrayBuffer>): IncomingMessage {
  const reader = new DbusReader(bytes, 12);
  const end = FIXED_HEADER_BYTES + reader.uint32();
  const found: Record<string, string | number> = {};
  let signature = "";
  while (reader.at < end) {
    reader.pad(8);
    const code = reader.byte();
    const type = reader.signature();
    const value = type === "u" ? reader.uint32() : type === "g" ? reader.signature() : reader.string();
    if (code === SIGNATURE_FIELD) signature = String(value);
    for (const [name, known] of Object.entries(FIELDS)) if (known === code) found[name] = value;
  }
  const bodyAt = Math.ceil(end / 8) * 8;
  return { ...found, type: bytes[1] ?? 0, signature, body: bytes.slice(bodyAt) };
}
