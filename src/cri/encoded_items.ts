import { EncodedResponse } from "./unary.ts";
import { concatenate, messageField } from "./wire.ts";

/** Items of one message of a streamed list, as in CRI-O. */
const CHUNK_ITEMS = 3000;
/** Large items are fewer: clients take 16 MiB in a message, and 4 where nobody asked for more. */
const CHUNK_BYTES = 3 * 1024 * 1024;

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
    return new EncodedResponse(concatenate(this.#encoded(items)));
  }

  /** The same list as a stream of responses; none for an empty list. */
  responses(items: Iterable<Item>): Generator<EncodedResponse> {
    return streamed(this.#encoded(items));
  }

  *#encoded(items: Iterable<Item>): Generator<Uint8Array> {
    for (const item of items) yield this.#bytesOf(item);
  }

  #bytesOf(item: Item): Uint8Array {
    const known = this.#cache.get(item);
    if (known !== undefined) return known;
    const bytes = messageField(1, this.encode(item));
    this.#cache.set(item, bytes);
    return bytes;
  }
}

/** The messages of a streamed list, out of its encoded items with tag and length. */
export function* streamed(items: Iterable<Uint8Array>): Generator<EncodedResponse> {
  let chunk: Uint8Array[] = [];
  let bytes = 0;
  for (const item of items) {
    if (chunk.length === CHUNK_ITEMS || (bytes > 0 && bytes + item.length > CHUNK_BYTES)) {
      yield new EncodedResponse(concatenate(chunk));
      [chunk, bytes] = [[], 0];
    }
    chunk.push(item);
    bytes += item.length;
  }
  if (chunk.length > 0) yield new EncodedResponse(concatenate(chunk));
}
