import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { ProtocolError } from "../../../src/streaming/errors.ts";
import { SpdyEncoder, type SpdyFrame, SpdyParser } from "../../../src/streaming/spdy_frames.ts";
import { HeaderDecoder, HeaderEncoder, SPDY_DICTIONARY } from "../../../src/streaming/spdy_headers.ts";

/**
 * Header blocks as zlib makes them with the SPDY/3 dictionary (level 9, sync flush), of one connection: streamtype
 * error, then streamtype stdin and streamtype data with port 8080 and requestid 0.
 */
const ZLIB_BLOCKS = [
  "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
  "c22e555c02cc2e00000000ffff",
  "0225550c295001940829cb8bc0d9c6c2c0c20048731641e23e139427180d00000000ffff",
];

function headers(pairs: Record<string, string>): Map<string, string> {
  return new Map(Object.entries(pairs));
}

/** Feeds bytes in pieces of the given size and joins the pieces of data frames. */
function parseAll(bytes: Uint8Array, pieceBytes: number): SpdyFrame[] {
  const parser = new SpdyParser();
  const frames: SpdyFrame[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    for (const frame of parser.parse(bytes.subarray(at, at + pieceBytes))) {
      const last = frames.at(-1);
      const isMore = frame.kind === "data" && last?.kind === "data" && last.id === frame.id && !last.fin;
      if (!isMore) frames.push(frame);
      else frames[frames.length - 1] = { ...frame, payload: Buffer.concat([last.payload, frame.payload]) };
    }
  }
  return frames;
}

Deno.test("SPDY_DICTIONARY is the one of the specification", () => {
  let a = 1;
  let b = 0;
  for (const byte of SPDY_DICTIONARY) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  assert.equal(SPDY_DICTIONARY.length, 1423);
  assert.equal(((b << 16) | a) >>> 0, 0xe3c6a7c2);
});

Deno.test("HeaderDecoder reads consecutive blocks that zlib made with the dictionary", () => {
  const decoder = new HeaderDecoder();
  const read = ZLIB_BLOCKS.map((hex) => Object.fromEntries(decoder.decode(Buffer.from(hex, "hex"))));
  assert.deepEqual(read, [
    { streamtype: "error" },
    { streamtype: "stdin" },
    { streamtype: "data", port: "8080", requestid: "0" },
  ]);
});

Deno.test("HeaderDecoder reads what HeaderEncoder writes, block after block", () => {
  fc.assert(fc.property(
    fc.array(fc.dictionary(fc.stringMatching(/^[a-z0-9-]{1,20}$/), fc.string({ maxLength: 50 })), { maxLength: 8 }),
    (blocks) => {
      const encoder = new HeaderEncoder();
      const decoder = new HeaderDecoder();
      for (const block of blocks) {
        assert.deepEqual(decoder.decode(encoder.encode(headers(block))), headers(block));
      }
    },
  ));
});

const NASTY_BLOCKS: ReadonlyArray<readonly [string, string]> = [
  ["nothing", ""],
  ["no zlib header", "0000000000000000"],
  ["a zlib header without dictionary", "789c00000000ffff0000"],
  ["garbage after the header", "78bbe3c6a7c2ffffffffffff"],
  ["a count without headers", "78bbe3c6a7c2000400fbff00000001000000ffff"],
  ["a huge count", "78bbe3c6a7c2000400fbffffffffff000000ffff"],
  ["a length beyond the end", "78bbe3c6a7c2000800f7ff000000017fffffff000000ffff"],
];
for (const [what, hex] of NASTY_BLOCKS) {
  Deno.test(`HeaderDecoder refuses ${what}`, () => {
    assert.throws(() => new HeaderDecoder().decode(Buffer.from(hex, "hex")), ProtocolError);
  });
}

Deno.test("HeaderDecoder refuses a block that grows a thousandfold", () => {
  const encoder = new HeaderEncoder();
  const block = encoder.encode(headers({ a: "x".repeat(20_000) }));
  assert.throws(() => new HeaderDecoder().decode(block), ProtocolError);
});

Deno.test("SpdyParser gives the same frames however the bytes are cut", () => {
  const encoder = new SpdyEncoder();
  const bytes = Buffer.concat([
    encoder.synStream(1, headers({ streamtype: "stdin" })),
    encoder.data(1, Buffer.from("hello"), { fin: false }),
    encoder.ping(3),
    encoder.synStream(3, headers({ streamtype: "error" })),
    encoder.data(1, Buffer.alloc(1000, 7), { fin: true }),
    encoder.rstStream(3, 5),
    encoder.data(3, new Uint8Array(), { fin: true }),
    encoder.goAway(3, 0),
  ]);
  const whole = parseAll(bytes, bytes.length);
  const seen = whole.map((frame) => frame.kind);
  assert.deepEqual(seen, ["synStream", "data", "ping", "synStream", "data", "rstStream", "data", "goAway"]);
  for (const pieceBytes of [1, 2, 3, 7, 8, 9, 64]) {
    const pieces = parseAll(bytes, pieceBytes);
    assert.deepEqual(pieces.map(plain), whole.map(plain));
  }
});

function plain(frame: SpdyFrame): object {
  return frame.kind === "data" ? { ...frame, payload: Buffer.from(frame.payload).toString("hex") } : frame;
}

Deno.test("SpdyParser passes over frames that it does not know", () => {
  const unknown = Buffer.from("8003000a00000002abcd", "hex");
  assert.deepEqual([...new SpdyParser().parse(unknown)], []);
});

const NASTY_FRAMES: ReadonlyArray<readonly [string, string]> = [
  ["another version", "8002000600000004" + "00000001"],
  ["data of stream 0", "0000000000000001" + "00"],
  ["a control frame of 16 MiB", "8003000100ffffff"],
  ["a SYN_STREAM without an id", "8003000100000002" + "0000"],
  ["a SYN_STREAM without a header block", "800300010000000a" + "00000001000000000000"],
  ["a RST_STREAM without a status", "8003000300000004" + "00000001"],
  ["an empty PING", "8003000600000000"],
  ["a HEADERS without anything", "8003000800000000"],
];
for (const [what, hex] of NASTY_FRAMES) {
  Deno.test(`SpdyParser refuses ${what}`, () => {
    assert.throws(() => [...new SpdyParser().parse(Buffer.from(hex, "hex"))], ProtocolError);
  });
}

Deno.test("SpdyParser survives anything: frames, or a ProtocolError", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (bytes, pieceBytes) => {
    try {
      parseAll(bytes, pieceBytes);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  }));
});
