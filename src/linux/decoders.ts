/**
 * gunzip and zstd by the host's libraries, where it has them: Intel's ISA-L (`libisal.so.2`) needs less than half of zlib's time,
 * and `libzstd.so.1` called directly half of what Node's stream over it does. Names, constants and layouts are those of
 * `isa-l/igzip_lib.h` and `zstd.h`.
 */

/** `struct inflate_state` has 87,368 bytes in version 2.30; a later one may have more. */
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

const ISAL_SYMBOLS = {
  isal_inflate_init: { parameters: ["buffer"], result: "void" },
  isal_inflate: { parameters: ["buffer"], result: "i32" },
} as const;

type IsalLibrary = Deno.DynamicLibrary<typeof ISAL_SYMBOLS>["symbols"];
type Bytes = Uint8Array<ArrayBuffer>;

/** How far one call of {@link StreamDecoder.decode} came. */
export interface DecodeStep {
  readonly consumedBytes: number;
  readonly producedBytes: number;
}

/** Decompresses frames (zstd) or members (gzip) that follow one another. */
export interface StreamDecoder extends Disposable {
  /** Whether a frame has ended, its checksum was right, and all of its bytes were given out. */
  readonly isEnded: boolean;
  /**
   * Goes on until the input is used up, the output is full or a frame ends; then the next call begins another. Synchronous:
   * about a millisecond for a megabyte of output.
   *
   * @throws RangeError with what the library says is wrong with the data
   */
  decode(input: Bytes, output: Bytes): DecodeStep;
}

/** gzip. */
export class IsalDecoder implements StreamDecoder {
  readonly #state = new Uint8Array(STATE_BYTES);
  readonly #view = new DataView(this.#state.buffer);

  private constructor(private readonly symbols: IsalLibrary) {
    this.#reset();
  }

  /** Undefined where the library is missing, or is one whose state looks different. */
  static open(): IsalDecoder | undefined {
    isal ??= openIsal();
    return isal === "none" ? undefined : new IsalDecoder(isal);
  }

  /** Offsets that are not this library's show: no end, wrong bytes, or a checksum that nobody looks at. */
  static fits(symbols: IsalLibrary): boolean {
    const output = new Uint8Array(64);
    const good = new IsalDecoder(symbols);
    const { producedBytes } = good.decode(SAMPLE, output);
    if (new TextDecoder().decode(output.subarray(0, producedBytes)) !== "crio" || !good.isEnded) return false;
    const damaged = SAMPLE.slice();
    damaged[damaged.length - 8] = 0;
    try {
      new IsalDecoder(symbols).decode(damaged, output);
      return false;
    } catch {
      return true;
    }
  }

  [Symbol.dispose](): void {}

  #reset(): void {
    this.symbols.isal_inflate_init(this.#state);
    this.#view.setUint32(CRC_FLAG, ISAL_GZIP, LITTLE_ENDIAN);
  }

  get isEnded(): boolean {
    return this.#view.getInt32(BLOCK_STATE, LITTLE_ENDIAN) === ISAL_BLOCK_FINISH;
  }

  decode(input: Bytes, output: Bytes): DecodeStep {
    if (this.isEnded && input.length > 0) this.#reset();
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

let isal: IsalLibrary | "none" | undefined;

function openIsal(): IsalLibrary | "none" {
  try {
    const { symbols } = Deno.dlopen("libisal.so.2", ISAL_SYMBOLS);
    return IsalDecoder.fits(symbols) ? symbols : "none";
  } catch {
    return "none";
  }
}

/** "crio", packed; its checksum begins 8 bytes before the end. */
const SAMPLE = new Uint8Array([
  ...[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0x4b, 0x2e, 0xca, 0xcc, 7, 0],
  ...[0xe8, 0x97, 0x90, 0x36, 4, 0, 0, 0],
]);

/** `ZSTD_inBuffer` and `ZSTD_outBuffer`: an address, a size and a position, 8 bytes each. */
const BUFFER_BYTES = 24;
const SIZE = 8;
const POSITION = 16;

const ZSTD_SYMBOLS = {
  ZSTD_createDStream: { parameters: [], result: "pointer" },
  ZSTD_freeDStream: { parameters: ["pointer"], result: "usize" },
  ZSTD_decompressStream: { parameters: ["pointer", "buffer", "buffer"], result: "usize" },
  ZSTD_isError: { parameters: ["usize"], result: "u32" },
  ZSTD_getErrorName: { parameters: ["usize"], result: "pointer" },
} as const;

type ZstdLibrary = Deno.DynamicLibrary<typeof ZSTD_SYMBOLS>["symbols"];

/** zstd; skippable frames are skipped. Windows of more than 128 MiB are refused, which is the library's own limit. */
export class ZstdDecoder implements StreamDecoder {
  readonly #stream: Deno.PointerValue;
  readonly #input = new DataView(new ArrayBuffer(BUFFER_BYTES));
  readonly #output = new DataView(new ArrayBuffer(BUFFER_BYTES));
  isEnded = false;

  private constructor(private readonly symbols: ZstdLibrary) {
    this.#stream = symbols.ZSTD_createDStream();
    if (this.#stream === null) throw new RangeError("ZSTD_createDStream gives nothing");
  }

  /** Undefined where the library is missing. */
  static open(): ZstdDecoder | undefined {
    zstd ??= openZstd();
    return zstd === "none" ? undefined : new ZstdDecoder(zstd);
  }

  decode(input: Bytes, output: Bytes): DecodeStep {
    describe(this.#input, input);
    describe(this.#output, output);
    const { symbols } = this;
    const hint = symbols.ZSTD_decompressStream(this.#stream, this.#output.buffer, this.#input.buffer);
    if (symbols.ZSTD_isError(hint) !== 0) {
      const name = symbols.ZSTD_getErrorName(hint);
      throw new RangeError(name === null ? "unknown error" : new Deno.UnsafePointerView(name).getCString());
    }
    this.isEnded = hint === 0n;
    return {
      consumedBytes: Number(this.#input.getBigUint64(POSITION, LITTLE_ENDIAN)),
      producedBytes: Number(this.#output.getBigUint64(POSITION, LITTLE_ENDIAN)),
    };
  }

  [Symbol.dispose](): void {
    this.symbols.ZSTD_freeDStream(this.#stream);
  }
}

let zstd: ZstdLibrary | "none" | undefined;

function openZstd(): ZstdLibrary | "none" {
  try {
    return Deno.dlopen("libzstd.so.1", ZSTD_SYMBOLS).symbols;
  } catch {
    return "none";
  }
}

function describe(buffer: DataView<ArrayBuffer>, bytes: Bytes): void {
  buffer.setBigUint64(0, addressOf(bytes), LITTLE_ENDIAN);
  buffer.setBigUint64(SIZE, BigInt(bytes.length), LITTLE_ENDIAN);
  buffer.setBigUint64(POSITION, 0n, LITTLE_ENDIAN);
}

function addressOf(bytes: Bytes): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}
