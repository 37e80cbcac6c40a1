import type { Readable } from "node:stream";
import type { TerminalSize } from "./handlers.ts";

/** One `{"Width":80,"Height":24}`; a longer text without an end is not one. */
const MAX_TEXT = 256;
const MAX_SIZE = 0xffff;

/** Sizes out of the JSON objects of a resize stream, wherever they are cut; what is none is passed over. */
export class TerminalSizes {
  #text = "";
  #last: TerminalSize | undefined;
  #listener: ((size: TerminalSize) => void) | undefined;
  readonly #decoder = new TextDecoder();

  /** Reads a resize stream from now on. */
  readFrom(stream: Readable): void {
    stream.on("data", (chunk: Uint8Array) => this.receive(chunk));
  }

  receive(chunk: Uint8Array): void {
    this.#text += this.#decoder.decode(chunk, { stream: true });
    for (let end = this.#text.indexOf("}"); end >= 0; end = this.#text.indexOf("}")) {
      const size = parseSize(this.#text.slice(0, end + 1));
      this.#text = this.#text.slice(end + 1);
      if (size === undefined) continue;
      this.#last = size;
      this.#listener?.(size);
    }
    if (this.#text.length > MAX_TEXT) this.#text = "";
  }

  /** Calls `listener` with the last size, if there is one, and with all that follow; it takes an earlier one's place. */
  listen(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
    if (this.#last !== undefined) listener(this.#last);
  }
}

function parseSize(text: string): TerminalSize | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { Width: width, Height: height } = value as { Width?: unknown; Height?: unknown };
  return isSize(width) && isSize(height) ? { width, height } : undefined;
}

/** Clients send 0 for a terminal that they do not know the size of. */
function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= MAX_SIZE;
}
