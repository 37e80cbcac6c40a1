import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ociJson, parseOciJson } from "../../../../src/oci/spec/json.ts";

Deno.test("ociJson() writes no limit as the largest 64-bit number, and parseOciJson() reads it back", () => {
  const value = { rlimits: [{ type: "RLIMIT_CORE", soft: 1, hard: Infinity }], text: "18446744073709551615" };
  const text = ociJson(value);
  strictEqual(
    text,
    '{"rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":18446744073709551615}],"text":"18446744073709551615"}',
  );
  deepStrictEqual(parseOciJson(text), value);
});
