import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { ByteWriter, varintLength } from "../../../src/cri/byte_writer.ts";
import { UInt64Value } from "../../../src/cri/gen/api.ts";

const MAX_UINT64 = 2n ** 64n - 1n;

function varint(value: number | bigint): Uint8Array {
  const writer = new ByteWriter();
  writer.varint(value);
  return writer.finish();
}

Deno.test("ByteWriter.varint() writes what the codec writes, for numbers and bigints alike", () => {
  const values = fc.oneof(fc.bigInt({ min: 1n, max: MAX_UINT64 }), fc.bigInt({ min: 1n, max: 300n }));
  fc.assert(fc.property(values, (value) => {
    // Behind the tag of field 1.
    const expected = UInt64Value.encode({ value }).finish().slice(1);
    deepEqual([...varint(value)], [...expected]);
    equal(varintLength(value), expected.length);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) return;
    deepEqual([...varint(Number(value))], [...expected]);
    equal(varintLength(Number(value)), expected.length);
  }));
  deepEqual([...varint(0)], [0]);
  equal(varintLength(0), 1);
});

Deno.test("ByteWriter grows, and gives a copy of what was written", () => {
  const writer = new ByteWriter();
  const part = Uint8Array.from({ length: 3000 }, (_, at) => at % 251);
  for (let left = 5; left > 0; left -= 1) writer.bytes(part);
  writer.byte(7);
  const bytes = writer.finish();
  writer.byte(8);
  equal(bytes.length, 15_001);
  equal(writer.length, 15_002);
  deepEqual([...bytes.slice(12_000, 15_000)], [...part]);
  equal(bytes[15_000], 7);
});
