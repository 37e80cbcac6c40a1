import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { ProtocolError } from "../../../src/streaming/errors.ts";
import { acceptKey } from "../../../src/streaming/websocket.ts";
import { encodeWebSocketFrame, OPCODE, WebSocketParser } from "../../../src/streaming/websocket_frames.ts";

const MASK = [0x11, 0xa2, 0x33, 0xf4];

/** A frame as a client sends it. */
function clientFrame(opcode: number, payload: Uint8Array, options: { fin?: boolean; masked?: boolean } = {}): Buffer {
  const { fin = true, masked = true } = options;
  const frame = Buffer.from(encodeWebSocketFrame(opcode, payload));
  const head = frame.subarray(0, frame.length - payload.length);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = (head[1] ?? 0) | (masked ? 0x80 : 0);
  const body = masked ? Uint8Array.from(payload, (byte, i) => byte ^ (MASK[i & 3] ?? 0)) : payload;
  return Buffer.concat([head, masked ? Uint8Array.from(MASK) : new Uint8Array(), body]);
}

/** Messages and other events, with pieces joined. */
function parseAll(bytes: Uint8Array, pieceBytes: number): string[] {
  const parser = new WebSocketParser();
  const seen: string[] = [];
  let message = "";
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    for (const event of parser.parse(bytes.subarray(at, at + pieceBytes))) {
      if (event.kind !== "message") {
        seen.push(event.kind === "ping" ? `ping ${Buffer.from(event.payload).toString("hex")}` : event.kind);
        continue;
      }
      if (event.isFirst) message = "";
      message += Buffer.from(event.payload).toString("hex");
      if (event.isLast) seen.push(`message ${message}`);
    }
  }
  return seen;
}

Deno.test("acceptKey() answers as the RFC's example", () => {
  assert.equal(acceptKey("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

Deno.test("WebSocketParser gives the same messages however the bytes are cut", () => {
  const sizes = [0, 1, 5, 125, 126, 300, 70_000];
  const payloads = sizes.map((size) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7) & 0xff)));
  const bytes = Buffer.concat([
    ...payloads.map((payload) => clientFrame(OPCODE.binary, payload)),
    clientFrame(OPCODE.text, Buffer.from("ab"), { fin: false }),
    clientFrame(OPCODE.ping, Buffer.from("p")),
    clientFrame(0, Buffer.from("cd"), { fin: false }),
    clientFrame(0, new Uint8Array()),
    clientFrame(OPCODE.close, new Uint8Array()),
  ]);
  const expected = [
    ...payloads.map((payload) => `message ${payload.toString("hex")}`),
    "ping 70",
    "message 61626364",
    "close",
  ];
  for (const pieceBytes of [1, 3, 64, 65, 66, 67, 4096, bytes.length]) {
    assert.deepEqual(parseAll(bytes, pieceBytes), expected, `pieces of ${pieceBytes}`);
  }
});

Deno.test("WebSocketParser does not change the bytes that it is given", () => {
  const frame = clientFrame(OPCODE.binary, Buffer.alloc(100, 1));
  const copy = Buffer.from(frame);
  assert.equal([...new WebSocketParser().parse(frame)].length, 1);
  assert.deepEqual(frame, copy);
});

const NASTY: ReadonlyArray<readonly [string, Uint8Array]> = [
  ["a frame without a mask", clientFrame(OPCODE.binary, Buffer.from("x"), { masked: false })],
  ["an unknown opcode", clientFrame(3, Buffer.from("x"))],
  ["an unknown control opcode", clientFrame(11, Buffer.from("x"))],
  ["a reserved bit", Buffer.concat([Buffer.from([0xc2]), clientFrame(OPCODE.binary, Buffer.from("x")).subarray(1)])],
  ["a ping in pieces", clientFrame(OPCODE.ping, Buffer.from("x"), { fin: false })],
  ["a long ping", clientFrame(OPCODE.ping, Buffer.alloc(126))],
  ["a continuation of nothing", clientFrame(0, Buffer.from("x"))],
  [
    "a message within a message",
    Buffer.concat([
      clientFrame(OPCODE.text, Buffer.from("x"), { fin: false }),
      clientFrame(OPCODE.text, Buffer.from("y")),
    ]),
  ],
  ["a frame of 2^63 bytes", Buffer.from("82ff800000000000000011223344", "hex")],
];
for (const [what, bytes] of NASTY) {
  Deno.test(`WebSocketParser refuses ${what}`, () => {
    assert.throws(() => [...new WebSocketParser().parse(bytes)], ProtocolError);
  });
}

Deno.test("WebSocketParser survives anything: events, or a ProtocolError", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (bytes, pieceBytes) => {
    try {
      parseAll(bytes, pieceBytes);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  }));
});
