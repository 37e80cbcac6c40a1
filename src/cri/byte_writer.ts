const FIRST_BYTES = 4096;

/** Bytes that are put together one after the other, in a buffer that grows. */
export class ByteWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length] = value;
    this.#length += 1;
  }

  bytes(part: Uint8Array): void {
    this.#reserve(part.length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
  }

  /** A varint of protobuf. @param value 0 to 2^64 - 1 */
  varint(value: number | bigint): void {
    let rest = value;
    if (typeof rest === "bigint") {
      while (rest > MAX_SAFE) {
        this.byte(Number(rest & 0x7fn) | 0x80);
        rest >>= 7n;
      }
      rest = Number(rest);
    }
    // Shifts of numbers work on 32 bits only.
    while (rest > 0x7f) {
      this.byte(rest % 128 | 0x80);
      rest = Math.floor(rest / 128);
    }
    this.byte(rest);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(more: number): void {
    const wanted = this.#length + more;
    if (wanted <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** How many bytes {@link ByteWriter.varint} writes. */
export function varintLength(value: number | bigint): number {
  let length = 1;
  if (typeof value === "bigint" && value > MAX_SAFE) {
    for (let rest = value >> 7n; rest > 0n; rest >>= 7n) length += 1;
    return length;
  }
  for (let rest = Math.floor(Number(value) / 128); rest > 0; rest = Math.floor(rest / 128)) length += 1;
  return length;
}
