import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { EncodedItems } from "../../../src/cri/encoded_items.ts";
import { Image, ListImagesResponse } from "../../../src/cri/gen/api.ts";

const image = (id: string): Image => ({ ...Image.decode(new Uint8Array()), id });

Deno.test("EncodedItems.response() is what the codec writes for the list", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 40_000 }), { maxLength: 5 }), (lengths) => {
    const images = lengths.map((length) => image("x".repeat(length)));
    const items = new EncodedItems((item: Image) => Image.encode(item).finish());
    const expected = ListImagesResponse.encode({ images }).finish();
    equal(items.response(images).bytes.toHex(), expected.toHex());
    equal(items.response(images).bytes.toHex(), expected.toHex(), "from the cache");
  }));
});

Deno.test("EncodedItems.response() encodes an object once", () => {
  let encoded = 0;
  const items = new EncodedItems((item: Image) => {
    encoded += 1;
    return Image.encode(item).finish();
  });
  const [a, b] = [image("a"), image("b")];
  items.response([a, b]);
  items.response([b, a]);
  equal(encoded, 2);
  deepEqual(ListImagesResponse.decode(items.response([{ ...a, id: "c" }, b]).bytes).images.map(({ id }) => id), [
    "c",
    "b",
  ]);
  equal(encoded, 3);
  equal(items.response([]).bytes.length, 0);
});

Deno.test("EncodedItems.responses() splits a list by number and by size, and loses nothing", () => {
  const items = new EncodedItems((item: Image) => Image.encode(item).finish());
  const sizes = (images: readonly Image[]): number[] =>
    [...items.responses(images)].map(({ bytes }) => ListImagesResponse.decode(bytes).images.length);
  const large = image("x".repeat(1024 * 1024));
  const [huge, small] = [image("y".repeat(4 * 1024 * 1024)), image("z")];
  deepEqual(sizes([]), []);
  deepEqual(sizes(Array.from({ length: 6001 }, () => small)), [3000, 3000, 1]);
  deepEqual(sizes([large, large, large, large, small]), [2, 3]);
  deepEqual(sizes([huge, small, huge]), [1, 1, 1]);
});
