import { EncodedResponse } from "./unary.ts";

/** Tag of field 1 with a length before its value. */
const FIELD_1 = (1 << 3) | 2;

/**
 * Encoded items of list responses, each kept as long as its record lives.
 *
 * All lists of the CRI are `repeated Item = 1` and nothing else, so a response is its items, each with tag and length,
 * one after the other. Records are immutable: a changed one is another object, and its bytes are made anew.
 */
export class EncodedItems<Item extends object> {
  readonly #cache = new WeakMap<Item, Uint8Array>();

  /** @param encode the message of one item, without tag and length */
  constructor(private readonly encode: (item: Item) => Uint8Array) {}

  /** A list response of these items. */
  response(items: Iterable<Item>): EncodedResponse {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (const item of items) {
      const bytes = this.#bytesOf(item);
      parts.push(bytes);
      length += bytes.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return new EncodedResponse(all);
  }

  #bytesOf(item: Item): Uint8Array {
    const known = this.#cache.get(item);
    if (known !== undefined) return known;
    const message = this.encode(item);
    const header = [FIELD_1, ...varint(message.length)];
    const bytes = new Uint8Array(header.length + message.length);
    bytes.set(header);
    bytes.set(message, header.length);
    this.#cache.set(item, bytes);
    return bytes;
  }
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}
