import assert from "node:assert/strict";
import fc from "fast-check";
import { ProtocolError } from "../../../src/nri/errors.ts";
import {
  encodeMessage,
  FrameReader,
  MAX_MESSAGE_BYTES,
  MESSAGE,
  type Message,
  MessageReader,
} from "../../../src/nri/frames.ts";

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

Deno.test("encodeMessage() writes connection, length, message length, stream, type and flags", () => {
  const bytes = joined(encodeMessage(2, { stream: 3, type: MESSAGE.request, payload: Uint8Array.of(9, 8) }));
  assert.deepEqual([...bytes], [0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 9, 8]);
});

Deno.test("encodeMessage() cuts a long message after 4096 bytes, the rest in one frame", () => {
  const payload = new Uint8Array(20_000).fill(7);
  const frames = [...new FrameReader().push(joined(encodeMessage(1, { stream: 1, type: MESSAGE.response, payload })))];
  assert.deepEqual(frames.map((frame) => frame.payload.length), [4096, 20_010 - 4096]);
  assert.deepEqual(frames.map((frame) => frame.connection), [1, 1]);
});

Deno.test("readers give back what was written, however the bytes are cut", () => {
  const messages = fc.array(
    fc.record({
      stream: fc.nat(),
      type: fc.constantFrom<number>(...Object.values(MESSAGE)),
      payload: fc.uint8Array({ maxLength: 6000 }),
    }, { noNullPrototype: true }),
    { maxLength: 5 },
  );
  fc.assert(fc.property(messages, fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1 }), (sent, sizes) => {
    const bytes = joined(sent.flatMap((message) => encodeMessage(1, message)));
    const frames = new FrameReader();
    const reader = new MessageReader();
    const received: Message[] = [];
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = sizes[i % sizes.length] ?? 1;
      for (const { payload } of frames.push(bytes.subarray(at, at + size))) {
        for (const message of reader.push(payload)) received.push({ ...message, payload: message.payload.slice() });
      }
      at += size;
    }
    assert.deepEqual(received, sent);
  }));
});

Deno.test("readers refuse lengths that no frame and no message has", () => {
  const frame = new Uint8Array(8);
  new DataView(frame.buffer).setUint32(4, MAX_MESSAGE_BYTES + 11);
  assert.throws(() => [...new FrameReader().push(frame)], ProtocolError);
  const message = new Uint8Array(10);
  new DataView(message.buffer).setUint32(0, MAX_MESSAGE_BYTES + 1);
  assert.throws(() => [...new MessageReader().push(message)], ProtocolError);
});
