import { equal, rejects } from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import type { ByteReader } from "../../../src/image/distribution/transport.ts";
import { type DecoderOpeners, decompress } from "../../../src/image/pull/decompress.ts";
import { sha256 } from "../../fakes/registry/content.ts";
import { IsalDecoder } from "../../../src/linux/decoders.ts";

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

async function expand(
  data: Bytes,
  pieceBytes: number,
  openers?: DecoderOpeners,
): Promise<{ compression: string; content: Bytes }> {
  const { compression, bytes: stream } = await decompress(reader(data, pieceBytes), openers);
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

const NONE: DecoderOpeners = { openGzip: () => undefined, openZstd: () => undefined };
/** With the host's libraries, those that it has, and with Node's. */
const WAYS: Readonly<Record<string, DecoderOpeners | undefined>> = {
  "by the host's libraries": undefined,
  "by Node's zlib": NONE,
};

// Libraries open with their first use, which the leak check of tests would count.
for (const form of ["gzip", "zstd"]) await expand(FORMS[form] ?? TEXT, 4096);

const CASES = Object.entries(WAYS).flatMap(([way, openers]) =>
  Object.entries(FORMS).map(([form, data]) => ({ form, data, way, openers }))
);

for (const { form, data, way, openers } of CASES) {
  for (const pieceBytes of [1, 7, 4096, 1 << 20]) {
    if (pieceBytes < 7 && data.length > 100_000) continue;
    Deno.test(`decompress() expands ${form} from pieces of ${pieceBytes} bytes ${way}`, async () => {
      const { compression, content } = await expand(data, pieceBytes, openers);
      equal(compression, form.split(" ")[0]);
      equal(content.length, TEXT.length);
      equal(content.findIndex((byte, i) => byte !== TEXT[i]), -1);
    });
  }
}

for (const [way, openers] of Object.entries(WAYS)) {
  Deno.test(`decompress() expands gzip of any size ${way}, also where a piece of output or a member just ends`, async () => {
    const random = new Uint8Array(1 << 20).map((_, i) => (i * 2654435761) >>> 13);
    for (const size of [0, 1, 1 << 19, (1 << 19) + 1, 1 << 20]) {
      for (const source of [random, new Uint8Array(1 << 20)]) {
        const content = source.subarray(0, size);
        for (const data of [gzipSync(content), bytes(gzipSync(content), gzipSync(""), gzipSync(content))]) {
          const expanded = await expand(bytes(data), 1 << 16, openers);
          const expected = bytes(content, data.length > gzipSync(content).length ? content : new Uint8Array());
          equal(expanded.content.length, expected.length);
          equal(expanded.content.findIndex((byte, i) => byte !== expected[i]), -1);
        }
      }
    }
  });

  Deno.test(`decompress() refuses or expands damaged gzip ${way}, and never to other bytes`, async () => {
    const whole = bytes(gzipSync(TEXT));
    await fc.assert(
      // Without its first two bytes it is no gzip at all.
      fc.asyncProperty(
        fc.integer({ min: 2, max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const damaged = whole.slice();
          damaged[at] = (damaged[at] ?? 0) ^ change;
          const outcome = await expand(damaged, 5000, openers).catch((error: { kind?: string }) => error.kind);
          // Parts of the header and the bits after the last block mean nothing.
          if (typeof outcome === "object") equal(sha256(outcome.content), sha256(TEXT));
          else equal(outcome, "data_loss");
        },
      ),
      { numRuns: 400 },
    );
  });
}

Deno.test("ISA-L's library is used on this host, where it is installed", () => {
  const isInstalled = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"].some((directory) => {
    try {
      return Deno.statSync(`${directory}/libisal.so.2`).isFile;
    } catch {
      return false;
    }
  });
  equal(IsalDecoder.open() !== undefined, isInstalled);
});

for (const { form, data, way, openers } of CASES) {
  if (form === "none") continue;
  Deno.test(`decompress() refuses cut and damaged ${form} ${way}`, async () => {
    const expandIt = (given: Bytes): Promise<unknown> => expand(given, 4096, openers);
    await rejects(expandIt(data.slice(0, data.length - 1)), { kind: "data_loss" });
    await rejects(expandIt(data.slice(0, 40)), { kind: "data_loss" });
    await rejects(expandIt(bytes(data, new Uint8Array([1, 2, 3, 4, 5]))), { kind: "data_loss" });
  });
}

Deno.test("decompress() names what it does not support, and takes an empty layer as plain", async () => {
  await rejects(expand(new Uint8Array([0x42, 0x5a, 0x68, 0x39, 1, 2, 3]), 10), /bzip2/);
  await rejects(expand(new Uint8Array([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1]), 10), /xz/);
  equal((await expand(new Uint8Array(), 10)).content.length, 0);
});

const STARTS = { "zstd frame": [0x28, 0xb5, 0x2f, 0xfd], "gzip member": [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3] };
for (const [way, openers] of Object.entries(WAYS)) {
  for (const [what, start] of Object.entries(STARTS)) {
    Deno.test(`decompress() ends for any bytes that begin like a ${what} ${way}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (rest) => {
          await expand(bytes(new Uint8Array(start), rest), 16, openers).catch((error: { kind?: string }) =>
            equal(error.kind, "data_loss")
          );
        }),
        { numRuns: 300 },
      );
    });
  }
}

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
