import assert from "node:assert/strict";
import { Crc64 } from "../../../../src/image/unpack/crc64.ts";
import { nativeCrc64 } from "../../../../src/linux/checksums.ts";

// A library that opens inside a test counts as a leak.
nativeCrc64();

function hexOf(...pieces: readonly Uint8Array<ArrayBuffer>[]): string {
  const crc = new Crc64();
  for (const piece of pieces) crc.update(piece);
  return Uint8Array.fromBase64(crc.base64()).toHex();
}

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);

/** The same sum, one bit after the other. */
function slow(bytes: Uint8Array): string {
  let crc = (1n << 64n) - 1n;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ ((crc & 1n) === 0n ? 0n : 0xd800000000000000n);
  }
  return (crc ^ ((1n << 64n) - 1n)).toString(16).padStart(16, "0");
}

Deno.test("Crc64 gives the published check value of CRC-64/GO-ISO", () => {
  assert.equal(hexOf(text("123456789")), "b90956c775a41001");
  assert.equal(hexOf(), "0000000000000000");
});

Deno.test("Crc64 is the same for every cut and alignment of the input", () => {
  const bytes = new Uint8Array(200).map((_, i) => (i * 73 + 11) & 0xff);
  const expected = slow(bytes);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.equal(hexOf(bytes.subarray(0, cut), bytes.subarray(cut)), expected);
  }
});

Deno.test("Crc64.reset() forgets what came before", () => {
  const crc = new Crc64();
  crc.update(text("something else"));
  crc.reset();
  crc.update(text("123456789"));
  assert.equal(Uint8Array.fromBase64(crc.base64()).toHex(), "b90956c775a41001");
});

Deno.test("Crc64 is the same where the host's library takes the long pieces and where it does not", () => {
  const bytes = new Uint8Array(9000).map((_, i) => (i * 191 + (i >> 5)) & 0xff);
  const SHORT = 50;
  const short = Array.from({ length: bytes.length / SHORT }, (_, i) => bytes.subarray(i * SHORT, (i + 1) * SHORT));
  const expected = slow(bytes);
  assert.equal(hexOf(bytes), expected);
  assert.equal(hexOf(...short), expected);
  assert.equal(
    hexOf(bytes.subarray(0, 10), bytes.subarray(10, 8000), bytes.subarray(8000, 8010), bytes.subarray(8010)),
    expected,
  );
});
