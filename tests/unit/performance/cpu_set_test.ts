import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { differenceOf, formatCpuSet, parseCpuSet, unionOf } from "../../../src/performance/cpu_set.ts";

Deno.test("parseCpuSet() and formatCpuSet() are each other's reverse", () => {
  deepStrictEqual(parseCpuSet("0-2,5, 9-10\n"), [0, 1, 2, 5, 9, 10]);
  deepStrictEqual(parseCpuSet(""), []);
  deepStrictEqual(parseCpuSet("3,1,1-3"), [1, 2, 3]);
  strictEqual(formatCpuSet([10, 9, 5, 2, 1, 0, 5]), "0-2,5,9-10");
  strictEqual(formatCpuSet([]), "");
});

Deno.test("unionOf() and differenceOf() work on lists", () => {
  strictEqual(unionOf("0-1", "1-3,8"), "0-3,8");
  strictEqual(unionOf("", "4"), "4");
  strictEqual(differenceOf("0-7", "2-3,9"), "0-1,4-7");
  strictEqual(differenceOf("2", "0-4"), "");
});
