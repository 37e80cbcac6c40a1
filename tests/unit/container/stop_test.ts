import assert from "node:assert/strict";
import { type ContainerId, newContainerId, newSandboxId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { ContainerDeps, Processes } from "../../../src/container/deps.ts";
import { ContainerExits } from "../../../src/container/exits.ts";
import { StopLoops } from "../../../src/container/stop.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerRecord } from "../../fakes/records.ts";

const SIGTERM = 15;
const SIGKILL = 9;

interface Bench {
  readonly deps: ContainerDeps;
  readonly loops: StopLoops;
  readonly record: ContainerRecord;
  readonly sent: number[];
  /** What the container does on a signal. */
  onSignal: (signal: number) => void;
  end(exitCode: number): Promise<void>;
}

async function withContainer(body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const records = await RecordStore.open<ContainerRecord>({
      directory,
      what: "container",
      log: silentLogger,
      parse: (json) => json as ContainerRecord,
    });
    const id: ContainerId = newContainerId();
    const record = containerRecord({ id, sandboxId: newSandboxId(), state: "running" });
    await records.insert(record);
    const exits = new ContainerExits({ records, log: silentLogger });
    const sent: number[] = [];
    const processes: Processes = {
      isAlive: () => true,
      signal: (_process, signal) => {
        sent.push(signal);
        bench.onSignal(signal);
        return true;
      },
      killNaming: async () => {},
    };
    const clock = { nowNanos: (): bigint => 5n, monotonicMs: (): number => performance.now() };
    const deps = { records, exits, processes, clock, log: silentLogger } as Partial<ContainerDeps> as ContainerDeps;
    const bench: Bench = {
      deps,
      loops: new StopLoops(deps),
      record,
      sent,
      onSignal: () => {},
      end: (exitCode) => exits.handle({ id, exitCode, finishedAtNanos: 7n, oomKilled: false }),
    };
    await body(bench);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const never = new AbortController().signal;

Deno.test("StopLoops.stop() sends the stop signal and ends with the container", async () => {
  await withContainer(async (bench) => {
    bench.onSignal = (signal): void => {
      if (signal === SIGTERM) void bench.end(0);
    };
    await bench.loops.stop(bench.record, { timeoutMs: 60_000, signal: never });
    assert.deepEqual(bench.sent, [SIGTERM]);
    assert.equal(bench.deps.records.get(bench.record.id)?.state, "exited");
    assert.equal(bench.loops.size, 0);
  });
});

Deno.test("StopLoops.stop() kills when the time has run out", async () => {
  await withContainer(async (bench) => {
    bench.onSignal = (signal): void => {
      if (signal === SIGKILL) void bench.end(137);
    };
    // Long enough for a busy machine to send the first signal; a slow end brings the second one more than once.
    await bench.loops.stop(bench.record, { timeoutMs: 200, signal: never });
    assert.deepEqual([...new Set(bench.sent)], [SIGTERM, SIGKILL]);
    assert.equal(bench.deps.records.get(bench.record.id)?.exitCode, 137);
  });
});

Deno.test("StopLoops.stop() lets a later request only shorten the time", async () => {
  await withContainer(async (bench) => {
    bench.onSignal = (signal): void => {
      if (signal === SIGKILL) void bench.end(137);
    };
    const first = bench.loops.stop(bench.record, { timeoutMs: 3_600_000, signal: never });
    const second = bench.loops.stop(bench.record, { timeoutMs: 7_200_000, signal: never });
    const third = bench.loops.stop(bench.record, { timeoutMs: 0, signal: never });
    await Promise.all([first, second, third]);
    assert.deepEqual([...new Set(bench.sent)], [SIGTERM, SIGKILL]);
  });
});

Deno.test("StopLoops.stop() goes on without the request that began it", async () => {
  await withContainer(async (bench) => {
    const caller = new AbortController();
    const killed = Promise.withResolvers<void>();
    bench.onSignal = (signal): void => {
      if (signal === SIGKILL) killed.resolve();
    };
    const stop = bench.loops.stop(bench.record, { timeoutMs: 20, signal: caller.signal });
    caller.abort(new Error("caller left"));
    await assert.rejects(stop, /stop container .*the caller went away .* waiting for its end; it goes on/);
    await killed.promise;
    assert.throws(() => bench.loops.refuseWhileKilling(bench.record.id), /being killed/);
    await bench.end(137);
    await bench.loops.stop(bench.deps.records.get(bench.record.id) ?? bench.record, { timeoutMs: 0, signal: never });
    await Promise.resolve();
  });
});

Deno.test("StopLoops.stop() repeats SIGKILL until the end comes", async () => {
  await withContainer(async (bench) => {
    let kills = 0;
    bench.onSignal = (signal): void => {
      if (signal === SIGKILL && ++kills === 3) void bench.end(137);
    };
    await bench.loops.stop(bench.record, { timeoutMs: 0, signal: never });
    assert.deepEqual(bench.sent, [SIGKILL, SIGKILL, SIGKILL]);
  });
});
