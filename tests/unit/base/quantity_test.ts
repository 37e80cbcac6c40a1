import { strictEqual } from "node:assert/strict";
import { parseQuantity } from "../../../src/base/quantity.ts";

const CASES: ReadonlyArray<readonly [string, number | undefined]> = [
  ["64Mi", 64 * 1024 * 1024],
  ["1G", 1_000_000_000],
  ["1.5Ki", 1536],
  [".5k", 500],
  ["1e6", 1_000_000],
  ["12E2", 1200],
  ["2E", undefined],
  ["500m", 1],
  ["1500m", 2],
  ["0", 0],
  ["-1Ki", -1024],
  ["", undefined],
  ["64MB", undefined],
  ["Mi", undefined],
  ["1 Mi", undefined],
  ["0x10", undefined],
  ["9999Ei", undefined],
];

for (const [text, value] of CASES) {
  Deno.test(`parseQuantity() makes ${value} of ${JSON.stringify(text)}`, () => strictEqual(parseQuantity(text), value));
}
