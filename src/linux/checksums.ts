/** CRC-64 by Intel's ISA-L (`libisal.so.2`), where the host has it; the function is in `isa-l/crc64.h`. */

const SYMBOLS = {
  crc64_iso_refl: { parameters: ["u64", "buffer", "usize"], result: "u64" },
} as const;

type Bytes = Uint8Array<ArrayBuffer>;
/** Takes the sum of what came before (0 at the start) and the next bytes, and gives the sum of both. */
export type NativeCrc64 = (before: bigint, bytes: Bytes) => bigint;

let opened: { readonly sum: NativeCrc64 | undefined } | undefined;

/**
 * The sum of ISO 3309, reflected. Undefined where the library is missing or calculates something else. The library is
 * opened by the first call: a daemon, which writes no tar-split itself, never makes it.
 */
export function nativeCrc64(): NativeCrc64 | undefined {
  opened ??= { sum: open() };
  return opened.sum;
}

function open(): NativeCrc64 | undefined {
  try {
    const { symbols } = Deno.dlopen("libisal.so.2", SYMBOLS);
    const sum: NativeCrc64 = (before, bytes) => symbols.crc64_iso_refl(before, bytes, BigInt(bytes.length));
    return sum(sum(0n, CHECK.subarray(0, 4)), CHECK.subarray(4)) === CHECK_SUM ? sum : undefined;
  } catch {
    return undefined;
  }
}

/** The published check value of CRC-64/GO-ISO: that of these nine digits. */
const CHECK = new TextEncoder().encode("123456789");
const CHECK_SUM = 0xb909_56c7_75a4_1001n;
