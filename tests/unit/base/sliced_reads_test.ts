import { deepEqual, equal, ok as assert, rejects } from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { SlicedReads, type SlicedReadsOptions } from "../../../src/base/sliced_reads.ts";
import { mapInTurns } from "../../../src/base/turns.ts";

interface Setup {
  readonly clock: { ms: number; monotonicMs(): number };
  readonly log: string[];
  readonly reads: SlicedReads<string, string>;
}

function setup(changes: Partial<SlicedReadsOptions<string, string>> = {}): Setup {
  const clock = { ms: 0, monotonicMs: (): number => clock.ms };
  const log: string[] = [];
  const read = (key: string, previous: string | undefined): string | undefined => {
    log.push(key);
    if (key === "gone") return undefined;
    if (key === "bad") throw new Error("cannot read bad");
    return `${key} after ${previous ?? "nothing"}`;
  };
  return { clock, log, reads: new SlicedReads<string, string>({ clock, read, maxAgeMs: 1000, ...changes }) };
}

/** Holds the thread, as a slow kernel does. */
function busy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

Deno.test("SlicedReads.get() reads once for all who ask at the same time", async () => {
  const { reads, log } = setup();
  const all = await Promise.all(["a", "b", "a", "a"].map((key) => reads.get(key)));
  deepEqual(all, ["a after nothing", "b after nothing", "a after nothing", "a after nothing"]);
  deepEqual(log, ["a", "b"]);
});

Deno.test("SlicedReads.get() gives a value until it is too old, then reads with the last one at hand", async () => {
  const { reads, log, clock } = setup();
  await reads.get("a");
  clock.ms = 999;
  equal(await reads.get("a"), "a after nothing");
  equal(log.length, 1);
  clock.ms = 1000;
  equal(await reads.get("a"), "a after a after nothing");
});

Deno.test("SlicedReads.get() remembers neither what is gone nor what fails", async () => {
  const { reads, log } = setup();
  equal(await reads.get("gone"), undefined);
  equal(await reads.get("gone"), undefined);
  await rejects(reads.get("bad"), /cannot read bad/);
  await rejects(reads.get("bad"), /cannot read bad/);
  equal(await reads.get("a"), "a after nothing", "one failure is nobody else's");
  deepEqual(log, ["gone", "gone", "bad", "bad", "a"]);
  equal(reads.size, 1);
});

Deno.test("SlicedReads forgets what nobody asks for", async () => {
  const { reads, clock } = setup();
  await Promise.all(["a", "b", "c"].map((key) => reads.get(key)));
  clock.ms = 121_000;
  await reads.get("d");
  equal(reads.size, 1);
});

Deno.test("SlicedReads.get() rejects with the caller's reason, and reads for the others", async () => {
  const { reads } = setup();
  const abort = new AbortController();
  const [impatient, patient] = [reads.get("a", { signal: abort.signal }), reads.get("a")];
  abort.abort(new Error("no time"));
  await rejects(impatient, /no time/);
  equal(await patient, "a after nothing");
  await rejects(reads.get("a", { signal: abort.signal }), /no time/);
});

Deno.test("SlicedReads gives other work its turn between slices", async () => {
  const { reads, log } = setup({
    read: (key) => {
      log.push(key);
      busy(0.2);
      return key;
    },
  });
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`);
  const all = Promise.all(keys.map((key) => reads.get(key)));
  let turns = 0;
  for (; log.length < keys.length; turns++) await setImmediate();
  await all;
  assert(turns >= 5, `${turns} turns`);
});

Deno.test("SlicedReads leaves reads to other threads for a while once the kernel is slow", async () => {
  const slowly: string[] = [];
  let running = 0;
  let most = 0;
  const { reads, log, clock } = setup({
    read: (key) => {
      log.push(key);
      busy(1.2);
      return key;
    },
    readSlowly: async (key) => {
      most = Math.max(most, ++running);
      await setImmediate();
      running -= 1;
      slowly.push(key);
      if (key === "k7") throw new Error("cannot read k7");
      return key;
    },
  });
  const keys = Array.from({ length: 12 }, (_, i) => `k${i}`);
  const all = await Promise.allSettled(keys.map((key) => reads.get(key)));
  deepEqual(log, ["k0", "k1"]);
  deepEqual(slowly, keys.slice(2));
  equal(most, 4);
  deepEqual(all.flatMap((one, i) => one.status === "rejected" ? keys[i] : []), ["k7"]);
  clock.ms = 61_000;
  await reads.get("later");
  equal(log.at(-1), "later");
});

Deno.test("mapInTurns() keeps the order", async () => {
  const items = Array.from({ length: 10 }, (_, i) => i);
  deepEqual(
    await mapInTurns(items, (item) => {
      busy(0.1);
      return item * 2;
    }),
    items.map((item) => item * 2),
  );
  deepEqual(await mapInTurns([], () => 1), []);
});
