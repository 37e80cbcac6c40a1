/**
 * gunzip by Intel's ISA-L (`libisal.so.2`), where the host has that library: it needs less than half of zlib's time. Names, constants and
 * the beginning of its state are those of `isa-l/igzip_lib.h`.
 */

/** A C structure of 87,368 bytes in version 2.30; later ones may be larger. */
const STATE_BYTES = 192 * 1024;
/** Offsets in `struct inflate_state`. */
const NEXT_OUT = 0;
const AVAIL_OUT = 8;
const NEXT_IN = 16;
const AVAIL_IN = 32;
const BLOCK_STATE = 21_160;
const CRC_FLAG = 21_172;
/** `crc_flag`: read the header, sum, compare with the trailer. */
const ISAL_GZIP = 1;
/** `block_state` when the trailer was read and is right. */
const ISAL_BLOCK_FINISH = 5;
const ISAL_DECOMP_OK = 0;
const ISAL_END_INPUT = 1;

/** As all machines that this runs on are. */
const LITTLE_ENDIAN = true;

const SYMBOLS = {
  isal_inflate_init: { parameters: ["buffer"], result: "void" },
  isal_inflate: { parameters: ["buffer"], result: "i32" },
} as const;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
type Bytes = Uint8Array<ArrayBuffer>;

/** How far one call of {@link GzipInflater.inflate} came. */
export interface InflateStep {
  readonly consumedBytes: number;
  readonly producedBytes: number;
}

/** One gzip member. Synchronous: about a millisecond for a megabyte of output. */
export class GzipInflater {
  readonly #state = new Uint8Array(STATE_BYTES);
  readonly #view = new DataView(this.#state.buffer);

  private constructor(private readonly symbols: Library) {
    this.reset();
  }

  /** Undefined where the library is missing, or is one whose state looks different. */
  static open(): GzipInflater | undefined {
    library ??= openLibrary();
    return library === "none" ? undefined : new GzipInflater(library);
  }

  /** Offsets that are not this library's show: no end, wrong bytes, or a checksum that nobody looks at. */
  static fits(symbols: Library): boolean {
    const output = new Uint8Array(64);
    const good = new GzipInflater(symbols);
    const { producedBytes } = good.inflate(SAMPLE, output);
    if (new TextDecoder().decode(output.subarray(0, producedBytes)) !== "crio" || !good.isEnded) return false;
    const damaged = SAMPLE.slice();
    damaged[damaged.length - 8] = 0;
    try {
      new GzipInflater(symbols).inflate(damaged, output);
      return false;
    } catch {
      return true;
    }
  }

  /** Begins with the next member. */
  reset(): void {
    this.symbols.isal_inflate_init(this.#state);
    this.#view.setUint32(CRC_FLAG, ISAL_GZIP, LITTLE_ENDIAN);
  }

  /** Whether the member is complete and its checksum was right. */
  get isEnded(): boolean {
    return this.#view.getInt32(BLOCK_STATE, LITTLE_ENDIAN) === ISAL_BLOCK_FINISH;
  }

  /**
   * Goes on until the input is used up, the output is full or the member ends.
   *
   * @throws RangeError with the library's number for what is wrong with the data
   */
  inflate(input: Bytes, output: Bytes): InflateStep {
    const view = this.#view;
    view.setBigUint64(NEXT_IN, addressOf(input), LITTLE_ENDIAN);
    view.setUint32(AVAIL_IN, input.length, LITTLE_ENDIAN);
    view.setBigUint64(NEXT_OUT, addressOf(output), LITTLE_ENDIAN);
    view.setUint32(AVAIL_OUT, output.length, LITTLE_ENDIAN);
    const result = this.symbols.isal_inflate(this.#state);
    if (result !== ISAL_DECOMP_OK && result !== ISAL_END_INPUT) throw new RangeError(`isal_inflate gives ${result}`);
    return {
      consumedBytes: input.length - view.getUint32(AVAIL_IN, LITTLE_ENDIAN),
      producedBytes: output.length - view.getUint32(AVAIL_OUT, LITTLE_ENDIAN),
    };
  }
}

let library: Library | "none" | undefined;

function openLibrary(): Library | "none" {
  try {
    const { symbols } = Deno.dlopen("libisal.so.2", SYMBOLS);
    return GzipInflater.fits(symbols) ? symbols : "none";
  } catch {
    return "none";
  }
}

/** "crio", packed; its checksum begins 8 bytes before the end. */
const SAMPLE = new Uint8Array([
  ...[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0x4b, 0x2e, 0xca, 0xcc, 7, 0],
  ...[0xe8, 0x97, 0x90, 0x36, 4, 0, 0, 0],
]);

function addressOf(bytes: Bytes): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}
