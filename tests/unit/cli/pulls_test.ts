import { deepEqual, equal, ok } from "node:assert/strict";
import { plainLines, type Pull, screenLines } from "../../../src/cli/pull_lines.ts";

const pull: Pull = {
  id: 1,
  image: "r.example/app:1",
  stage: "downloading",
  endpoint: "https://r.example",
  elapsed_ms: 2500,
  bytes_per_second: 12_345_678,
  layers: [
    { digest: `sha256:${"a".repeat(64)}`, size: 30_000_000, downloaded: 0, extracted: 0, state: "present" },
    {
      digest: `sha256:${"b".repeat(64)}`,
      size: 20_000_000,
      downloaded: 5_000_000,
      extracted: 11,
      state: "downloading",
    },
    { digest: `sha256:${"c".repeat(64)}`, size: 0, downloaded: 0, extracted: 0, state: "waiting" },
  ],
};

Deno.test("plainLines() says how far a pull and its layers are", () => {
  deepEqual(plainLines([pull]), [
    "r.example/app:1  downloading from https://r.example  1 of 3 layers  5.0 MB of 20.0 MB  12.3 MB/s  2.5 s",
    "  sha256:aaaaaaaaaaaa  present  30.0 MB, here already",
    "  sha256:bbbbbbbbbbbb  downloading  5.0 MB of 20.0 MB, 11 B unpacked",
    "  sha256:cccccccccccc  waiting  0 B of 0 B",
  ]);
  deepEqual(plainLines([]), ["no pulls"]);
});

Deno.test("plainLines() tells how a pull has ended, and lets a registry's words not move the cursor", () => {
  const failed = { ...pull, stage: "failed", error: "401\x1b[2J\nno" };
  deepEqual(plainLines([failed]), ["r.example/app:1  failed after 2.5 s: 401?[2J?no"]);
  deepEqual(plainLines([{ ...pull, stage: "done", image_id: "abc" }]), [
    "r.example/app:1  done from https://r.example in 2.5 s  abc",
  ]);
});

Deno.test("screenLines() draws bars that fit the screen", () => {
  const lines = screenLines([pull], { columns: 60, rows: 10 });
  equal(lines[1], `  sha256:aaaaaaaaaaaa  [${"=".repeat(24)}] 100 %  30`);
  equal(lines[2], `  sha256:bbbbbbbbbbbb  [${"=".repeat(6)}${" ".repeat(18)}]  25 %  5.`);
  ok(lines.every((line) => line.length < 60));
  deepEqual(screenLines([pull], { columns: 60, rows: 3 }).length, 2);
});
