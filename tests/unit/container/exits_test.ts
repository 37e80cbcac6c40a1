import assert from "node:assert/strict";
import { newContainerId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { type ContainerExit, ContainerExits } from "../../../src/container/exits.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerRecord } from "../../fakes/records.ts";

openLibraries();

async function withExits(
  body: (exits: ContainerExits, record: ContainerRecord, records: RecordStore<ContainerRecord>) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const records = await RecordStore.open<ContainerRecord>({
      directory,
      what: "container",
      log: silentLogger,
      parse: (json) => json as ContainerRecord,
    });
    const record = containerRecord({ startedAtNanos: "5000" });
    await records.insert(record);
    await body(new ContainerExits({ records, log: silentLogger }), record, records);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function exitOf(id: string): ContainerExit {
  return { id, exitCode: 0, finishedAtNanos: 1n, oomKilled: false };
}

Deno.test("ContainerExits.onEnd() tells once when the container ends, and not those who left", async () => {
  await withExits(async (exits, { id }) => {
    const told: string[] = [];
    using _first = exits.onEnd(id, () => told.push("first"));
    exits.onEnd(id, () => told.push("left"))[Symbol.dispose]();
    await exits.handle(exitOf(id));
    await exits.handle(exitOf(id));
    assert.deepEqual(told, ["first"]);
  });
});

Deno.test("ContainerExits.onEnd() tells at once when the container has ended or is gone", async () => {
  await withExits(async (exits, { id }) => {
    await exits.handle(exitOf(id));
    const told: string[] = [];
    using _ended = exits.onEnd(id, () => told.push("ended"));
    using _gone = exits.onEnd(newContainerId(), () => told.push("gone"));
    assert.deepEqual(told, ["ended", "gone"]);
  });
});

Deno.test("ContainerExits.handle() lets no container end before it began: exit files have a coarse clock", async () => {
  await withExits(async (exits, { id }, records) => {
    await exits.handle({ ...exitOf(id), finishedAtNanos: 4000n });
    assert.equal(records.get(id)?.finishedAtNanos, "5000");
  });
});
