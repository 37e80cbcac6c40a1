import assert from "node:assert/strict";
import { BROKEN } from "../fuzz/broken_target.ts";
import { type Failure, runCases } from "../fuzz/run_cases.ts";
import { supervise } from "../fuzz/supervise.ts";
import { IsalDecoder, ZstdDecoder } from "../../src/linux/decoders.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { MIN_PAST_SHARE, targetNamed } from "../fuzz/targets.ts";
import { nativeCrc64 } from "../../src/linux/checksums.ts";

// A library that opens inside a test counts as a leak.
nativeCrc64();

openLibraries();
IsalDecoder.open();
ZstdDecoder.open();

/** The long run is `scripts/fuzz`; this one is the same every time. */
const SEED = "every day";
const CASES = { tar: 400, manifest: 250, archive: 250, reference: 2500, registries: 1500, policy: 2000 };

for (const [name, count] of Object.entries(CASES)) {
  Deno.test(`${count} hostile inputs break nothing: ${name}`, async () => {
    const failures: Failure[] = [];
    const place = `/tmp/crio-fuzz-${name}-${String(Deno.pid).padStart(8, "0")}`;
    const { reached, cases, failed } = await runCases(targetNamed(name), { seed: SEED, from: 0, count, place }, {
      failed: (failure) => failures.push(failure),
    });
    assert.deepEqual(failures.map(({ index, reason }) => `case ${index}: ${reason}`), []);
    assert.deepEqual([cases, failed], [count, 0]);
    const past = reached.past + reached.accepted;
    assert.ok(past / count >= MIN_PAST_SHARE, `${past} of ${count} get past the first parser`);
    assert.ok(reached.accepted > 0 && reached.refused > 0, JSON.stringify(reached));
  });
}

Deno.test("a case that throws, dies, hangs or forgets a promise is seen, and the others go on", async () => {
  const range = { seed: SEED, from: 0, count: 11, place: "/tmp/crio-fuzz-broken" };
  const { tally, failures } = await supervise(BROKEN, range, { hangMs: 4000 });
  assert.deepEqual(failures.map(({ index }) => index), [3, 5, 7, 9]);
  const reasons = [/TypeError/, /SIGKILL/, /hangs/, /nobody heard: Error: forgotten/];
  for (const [i, reason] of reasons.entries()) assert.match(failures[i]?.reason ?? "", reason);
  assert.deepEqual([tally.cases, tally.failed], [11, 4]);
  assert.deepEqual(failures.map(({ input }) => input[0]), [3, 5, 7, 9], "the inputs are kept");
});

Deno.test("a case that takes too long is seen", async () => {
  const failures: Failure[] = [];
  const range = { seed: SEED, from: 10, count: 4, place: "", limitMs: 100 };
  await runCases(BROKEN, range, { failed: (failure) => failures.push(failure) });
  assert.deepEqual(failures.map(({ index }) => index), [11]);
  assert.match(failures[0]?.reason ?? "", /it takes \d+ ms of the processor/);
});
