import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { parseDurationMs, parseSizeBytes } from "../../../src/config/option.ts";
import { HANDLER, PLACES, SECTION_PATH, WORKLOAD, WORKLOAD_RESOURCES } from "../../../src/config/schema.ts";

Deno.test("schema has CRI-O's 156 options and 140 flags, and two of ours", () => {
  const ours = PLACES.filter(({ option }) => ["images_dir", "image_sources"].includes(option.key));
  strictEqual(ours.length, 2);
  const theirs = PLACES.filter((place) => !ours.includes(place));
  const fixed = theirs.filter((place) => SECTION_PATH[place.section] !== undefined);
  const perTable = [HANDLER, WORKLOAD, WORKLOAD_RESOURCES].map((rows) => Object.keys(rows).length);
  deepStrictEqual([fixed.length, ...perTable], [128, 20, 3, 5]);
  // config, config-dir, address and runtimes have no row of their own.
  strictEqual(theirs.filter((place) => place.option.flag !== undefined).length, 140 - 4);
});

Deno.test("schema gives each flag, variable and key to one option", () => {
  const flags = PLACES.flatMap(({ option }) => [option.flag, ...option.aliases]).filter((flag) => flag !== undefined);
  const variables = PLACES.flatMap(({ option }) => option.env);
  const paths = PLACES.map((place) => place.path);
  for (const names of [flags, variables, paths]) deepStrictEqual(names, [...new Set(names)]);
});

Deno.test("schema accepts its own defaults and documents each option", () => {
  for (const { option, path } of PLACES) {
    strictEqual(option.check(option.initial), undefined, path);
    ok(/[.:]$|\)$/.test(option.doc), `${path}: the text ends with a full stop`);
  }
});

Deno.test("parseDurationMs() reads Go durations and nothing else", () => {
  deepStrictEqual(["0", "", "30s", "1h2m3.5s", "250ms", "-1m"].map(parseDurationMs), [
    0,
    0,
    30_000,
    3_723_500,
    250,
    -60_000,
  ]);
  for (const bad of ["30", "s", "1x", "1 s", "abc", "--1s"]) strictEqual(parseDurationMs(bad), undefined, bad);
});

Deno.test("parseSizeBytes() counts in 1024", () => {
  deepStrictEqual(["12 MiB", "500KB", "4096", "1.5g"].map(parseSizeBytes), [12_582_912, 512_000, 4096, 1_610_612_736]);
  strictEqual(parseSizeBytes("12 apples"), undefined);
});

Deno.test('schema takes "all" sets of pod metrics alone, and no set that it does not know', () => {
  const option = PLACES.find(({ path }) => path === "crio.stats.included_pod_metrics")?.option;
  const check = (values: readonly string[]): string | undefined => option?.check(values);
  strictEqual(check(["all"]), undefined);
  strictEqual(check(["cpu", "diskIO", "pressure"]), undefined);
  ok(/alone/.test(check(["all", "cpu"]) ?? ""));
  ok(/not one of/.test(check(["diskio"]) ?? ""));
});
