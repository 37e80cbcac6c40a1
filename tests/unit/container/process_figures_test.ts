import { deepEqual, equal, rejects } from "node:assert/strict";
import { ProcessFiguresReader } from "../../../src/container/process_figures.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

/** A clock that a test moves, and lists of processes that a test gives. */
class Bench {
  nowMs = 1000;
  /** Time that one listing takes. */
  tookMs = 0;
  lists: string[] = [];
  running = 0;
  mostRunning = 0;
  pids: readonly number[] = [Deno.pid];
  readonly reader = new ProcessFiguresReader({
    processes: async (cgroup) => {
      this.lists.push(cgroup);
      this.running += 1;
      this.mostRunning = Math.max(this.mostRunning, this.running);
      await Promise.resolve();
      this.running -= 1;
      this.nowMs += this.tookMs;
      return this.pids;
    },
    clock: { nowNanos: () => BigInt(this.nowMs) * 1_000_000n, monotonicMs: () => this.nowMs },
  });

  read(id: string): Promise<unknown> {
    return this.reader.read({ id, cgroup: `/${id}`, initPid: Deno.pid });
  }
}

Deno.test("ProcessFiguresReader.read() counts once a second, whoever asks", async () => {
  const bench = new Bench();
  const [first, again] = await Promise.all([bench.read("a"), bench.read("a")]);
  equal(first, again);
  bench.nowMs += 999;
  await bench.read("a");
  deepEqual(bench.lists, ["/a"]);
  bench.nowMs += 1;
  await bench.read("a");
  deepEqual(bench.lists, ["/a", "/a"]);
});

Deno.test("ProcessFiguresReader.read() counts one container after the other", async () => {
  const bench = new Bench();
  await Promise.all(["a", "b", "c"].map((id) => bench.read(id)));
  deepEqual(bench.lists, ["/a", "/b", "/c"]);
  equal(bench.mostRunning, 1);
});

Deno.test("ProcessFiguresReader.read() counts less often what takes long", async () => {
  const bench = new Bench();
  bench.tookMs = 500;
  await bench.read("a");
  bench.nowMs += 9_999;
  await bench.read("a");
  equal(bench.lists.length, 1);
  bench.nowMs += 1;
  await bench.read("a");
  equal(bench.lists.length, 2);
});

Deno.test("ProcessFiguresReader.read() tries again after a failure, and forgets what is gone", async () => {
  const reader = new ProcessFiguresReader({
    processes: (cgroup) => cgroup === "/bad" ? Promise.reject(new Error("no list")) : Promise.resolve([]),
    clock: { nowNanos: () => 5n, monotonicMs: () => 0 },
  });
  await rejects(reader.read({ id: "a", cgroup: "/bad" }), /no list/);
  deepEqual(await reader.read({ id: "a", cgroup: "/a" }), {
    processes: 0,
    fileDescriptors: 0,
    sockets: 0,
    atNanos: 5n,
  });
  await reader.read({ id: "b", cgroup: "/b" });
  reader.retain(new Set(["b"]));
  equal(reader.size, 1);
});
