/**
 * Messages put together out of parts that are encoded already: a message is its fields one after the other, and a field
 * that holds a message is tag, length, message (protobuf.dev, Encoding).
 *
 * @module
 */

const LENGTH_DELIMITED = 2;

/** A field that holds a message. */
export function messageField(field: number, message: Uint8Array): Uint8Array {
  const header = [(field << 3) | LENGTH_DELIMITED, ...varint(message.length)];
  const bytes = new Uint8Array(header.length + message.length);
  bytes.set(header);
  bytes.set(message, header.length);
  return bytes;
}

/** One after the other. */
export function concatenate(parts: Iterable<Uint8Array>): Uint8Array {
  const all = [...parts];
  const bytes = new Uint8Array(all.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}
