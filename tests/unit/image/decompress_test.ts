import { equal, rejects } from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import type { ByteReader } from "../../../src/image/distribution/transport.ts";
import { decompress } from "../../../src/image/pull/decompress.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const bytes = (...parts: readonly Uint8Array[]): Bytes => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

/** Gives pieces of one buffer that it overwrites, as the real one does. */
function reader(data: Bytes, pieceBytes: number): ByteReader {
  let at = 0;
  const buffer = new Uint8Array(pieceBytes);
  return {
    read: () => {
      if (at >= data.length) return Promise.resolve(undefined);
      const piece = data.subarray(at, at + pieceBytes);
      at += piece.length;
      buffer.fill(0xee);
      buffer.set(piece);
      return Promise.resolve(buffer.subarray(0, piece.length));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function expand(data: Bytes, pieceBytes: number): Promise<{ compression: string; content: Bytes }> {
  const { compression, bytes: stream } = await decompress(reader(data, pieceBytes));
  const parts: Bytes[] = [];
  for await (const part of stream) parts.push(part.slice());
  return { compression, content: bytes(...parts) };
}

const TEXT = new Uint8Array(300_000).map((_, i) => (i * i) >> 7);
const half = TEXT.length >> 1;
const SKIPPABLE = bytes(new Uint8Array([0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]));
const FORMS: Readonly<Record<string, Bytes>> = {
  gzip: bytes(gzipSync(TEXT)),
  "gzip of two members": bytes(gzipSync(TEXT.subarray(0, half)), gzipSync(TEXT.subarray(half))),
  zstd: bytes(zstdCompressSync(TEXT)),
  "zstd frames with skippable ones": bytes(
    SKIPPABLE,
    zstdCompressSync(TEXT.subarray(0, half)),
    SKIPPABLE,
    zstdCompressSync(TEXT.subarray(half)),
    SKIPPABLE,
  ),
  "zstd of 300 frames": bytes(
    ...Array.from({ length: 300 }, (_, i) => zstdCompressSync(TEXT.subarray(i * 1000, i * 1000 + 1000))),
  ),
  none: TEXT,
};

for (const [form, data] of Object.entries(FORMS)) {
  for (const pieceBytes of [1, 7, 4096, 1 << 20]) {
    if (pieceBytes < 7 && data.length > 100_000) continue;
    Deno.test(`decompress() expands ${form} from pieces of ${pieceBytes} bytes`, async () => {
      const { compression, content } = await expand(data, pieceBytes);
      equal(compression, form.split(" ")[0]);
      equal(content.length, TEXT.length);
      equal(content.findIndex((byte, i) => byte !== TEXT[i]), -1);
    });
  }
}

for (const form of ["gzip", "zstd", "zstd frames with skippable ones"]) {
  Deno.test(`decompress() refuses cut and damaged ${form}`, async () => {
    const data = FORMS[form] ?? new Uint8Array();
    await rejects(expand(data.slice(0, data.length - 1), 4096), { kind: "data_loss" });
    await rejects(expand(data.slice(0, 40), 4096), { kind: "data_loss" });
    await rejects(expand(bytes(data, new Uint8Array([1, 2, 3, 4, 5])), 4096), { kind: "data_loss" });
  });
}

Deno.test("decompress() names what it does not support, and takes an empty layer as plain", async () => {
  await rejects(expand(new Uint8Array([0x42, 0x5a, 0x68, 0x39, 1, 2, 3]), 10), /bzip2/);
  await rejects(expand(new Uint8Array([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1]), 10), /xz/);
  equal((await expand(new Uint8Array(), 10)).content.length, 0);
});

Deno.test("decompress() ends for any bytes that begin like a zstd frame", async () => {
  const start = [0x28, 0xb5, 0x2f, 0xfd];
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (rest) => {
      await expand(bytes(new Uint8Array(start), rest), 16).catch((error: { kind?: string }) =>
        equal(error.kind, "data_loss")
      );
    }),
    { numRuns: 300 },
  );
});

Deno.test("a source that fails is what the reader of the stream sees", async () => {
  const failing = { ...reader(FORMS["gzip"] ?? new Uint8Array(), 1000), n: 0 };
  const read = failing.read;
  failing.read = (): ReturnType<ByteReader["read"]> =>
    failing.n++ > 5 ? Promise.reject(new Error("cut cable")) : read();
  await rejects(async () => {
    const { bytes: stream } = await decompress(failing);
    for await (const _ of stream);
  }, /cut cable/);
});
