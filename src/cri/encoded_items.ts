import { EncodedResponse } from "./unary.ts";
import { concatenate, messageField } from "./wire.ts";

/** Items of one message of a streamed list, as in CRI-O: well below the limit of a message. */
const CHUNK_ITEMS = 3000;

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
    for (const item of items) parts.push(this.#bytesOf(item));
    return new EncodedResponse(concatenate(parts));
  }

  /** The same list as a stream of responses with at most 3000 items each; none for an empty list. */
  *responses(items: Iterable<Item>): Generator<EncodedResponse> {
    for (const chunk of chunks(items)) yield this.response(chunk);
  }

  #bytesOf(item: Item): Uint8Array {
    const known = this.#cache.get(item);
    if (known !== undefined) return known;
    const bytes = messageField(1, this.encode(item));
    this.#cache.set(item, bytes);
    return bytes;
  }
}

/** Splits a list into the messages of a stream. */
export function* chunks<Item>(items: Iterable<Item>): Generator<Item[]> {
  let chunk: Item[] = [];
  for (const item of items) {
    chunk.push(item);
    if (chunk.length < CHUNK_ITEMS) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
