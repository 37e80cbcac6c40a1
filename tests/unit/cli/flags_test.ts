import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { isSet, lastValue, parseFlags, UsageError } from "../../../src/cli/flags.ts";
import { globalFlags } from "../../../src/cli/global_flags.ts";
import { helpText } from "../../../src/cli/help.ts";

const SPECS = [
  { name: "config", aliases: ["c"], boolean: false },
  { name: "read-only", boolean: true },
  { name: "timezone", aliases: ["tz"], boolean: false },
];

Deno.test("parseFlags() takes every spelling of Go's programs", () => {
  const spellings = [["--config", "x"], ["--config=x"], ["-config", "x"], ["-config=x"], ["-c", "x"], ["-c=x"]];
  for (const args of spellings) deepStrictEqual(parseFlags(args, SPECS).flags.get("config"), ["x"], args.join(" "));
  strictEqual(lastValue(parseFlags(["--tz", "UTC"], SPECS), "timezone"), "UTC");
});

Deno.test("parseFlags() gives a boolean a value only after the equals sign", () => {
  const parsed = parseFlags(["--read-only", "false"], SPECS);
  ok(isSet(parsed, "read-only"));
  deepStrictEqual(parsed.rest, ["false"]);
  ok(!isSet(parseFlags(["--read-only=false"], SPECS), "read-only"));
});

Deno.test("parseFlags() keeps repeated values, empty values and values that look like flags", () => {
  const parsed = parseFlags(["-c", "", "--config=a=b", "-c", "--read-only"], SPECS);
  deepStrictEqual(parsed.flags.get("config"), ["", "a=b", "--read-only"]);
});

Deno.test("parseFlags() ends at the command and after a double dash", () => {
  deepStrictEqual(parseFlags(["--read-only", "config", "--default"], SPECS).rest, ["config", "--default"]);
  deepStrictEqual(parseFlags(["--", "--read-only"], SPECS).rest, ["--read-only"]);
  deepStrictEqual(parseFlags(["-", "x"], SPECS).rest, ["-", "x"]);
});

Deno.test("parseFlags() refuses what it does not know and what lacks its value", () => {
  throws(() => parseFlags(["--nope=1"], SPECS), new UsageError("flag provided but not defined: --nope"));
  throws(() => parseFlags(["--config"], SPECS), new UsageError("flag needs an argument: --config"));
  throws(() => parseFlags(["---config"], SPECS).rest[0] === "---config" ? thrown() : undefined, UsageError);
});

function thrown(): never {
  throw new UsageError("left as a word");
}

Deno.test("parseFlags() throws nothing but UsageError", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom("--config", "-c", "--", "-", "--=", "x"))), (args) => {
      try {
        parseFlags(args, SPECS);
      } catch (error) {
        ok(error instanceof UsageError);
      }
    }),
  );
});

Deno.test("globalFlags() offers CRI-O's 140 flags, two of ours, help and version", () => {
  strictEqual(globalFlags().length, 140 + 2 + 2);
});

Deno.test("helpText() lists every flag that is not hidden, with its variable", () => {
  const text = helpText();
  ok(text.includes("--log-level value, -l value"));
  ok(text.includes("[$CONTAINER_LOG_LEVEL]"));
  ok(!text.includes("--registries-conf "));
});
