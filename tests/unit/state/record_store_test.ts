import assert from "node:assert/strict";
import { AlreadyExistsError, InvalidArgumentError } from "../../../src/base/errors.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { RecordStore } from "../../../src/state/record_store.ts";

interface Thing {
  readonly version: 1;
  readonly id: string;
  readonly name: string;
  readonly value: number;
}

async function open(directory: string): Promise<RecordStore<Thing>> {
  return await RecordStore.open<Thing>({
    directory,
    what: "thing",
    log: silentLogger,
    parse: (json) => {
      const thing = json as Thing;
      if (thing.version !== 1) throw new Error(`version ${thing.version} is not known`);
      return thing;
    },
  });
}

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("RecordStore.open() finds again what was inserted, updated and not removed", async () => {
  await withDirectory(async (directory) => {
    const store = await open(directory);
    await store.insert({ version: 1, id: "aa1", name: "one", value: 1 });
    await store.insert({ version: 1, id: "ab2", name: "two", value: 2 });
    await store.update("aa1", (thing) => ({ ...thing, value: 11 }));
    await store.remove("ab2");
    const again = await open(directory);
    assert.deepEqual([...again.values()], [{ version: 1, id: "aa1", name: "one", value: 11 }]);
    assert.equal(again.byName("two"), undefined);
  });
});

Deno.test("RecordStore.open() gives the records in the order asked for", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const records = ["b", "d", "a", "c"].map((id) => ({ version: 1, id, name: `name-${id}` }));
    const options = {
      directory,
      what: "thing",
      log: silentLogger,
      parse: (json: unknown) => json as typeof records[0],
    };
    const first = await RecordStore.open(options);
    for (const record of records) await first.insert(record);
    const again = await RecordStore.open({ ...options, compare: (a, b) => a.id < b.id ? -1 : 1 });
    assert.deepEqual([...again.values()].map(({ id }) => id), ["a", "b", "c", "d"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("RecordStore.find() takes unique prefixes and refuses ambiguous and empty ones", async () => {
  await withDirectory(async (directory) => {
    const store = await open(directory);
    await store.insert({ version: 1, id: "aa1", name: "one", value: 1 });
    await store.insert({ version: 1, id: "ab2", name: "two", value: 2 });
    assert.equal(store.find("ab")?.name, "two");
    assert.equal(store.find("zz"), undefined);
    assert.throws(() => store.find("a"), InvalidArgumentError);
    assert.throws(() => store.find(""), InvalidArgumentError);
  });
});

Deno.test("RecordStore.insert() refuses a name that is held, and frees it when the record goes", async () => {
  await withDirectory(async (directory) => {
    const store = await open(directory);
    await store.insert({ version: 1, id: "a", name: "n", value: 1 });
    await assert.rejects(store.insert({ version: 1, id: "b", name: "n", value: 1 }), AlreadyExistsError);
    await store.remove("a");
    await store.insert({ version: 1, id: "b", name: "n", value: 1 });
  });
});

Deno.test("RecordStore.update() runs the changes of one id one after the other and leaves all as it was on a throw", async () => {
  await withDirectory(async (directory) => {
    const store = await open(directory);
    await store.insert({ version: 1, id: "a", name: "n", value: 0 });
    await Promise.all(Array.from({ length: 20 }, () => store.update("a", (t) => ({ ...t, value: t.value + 1 }))));
    await assert.rejects(
      store.update("a", () => {
        throw new Error("no");
      }),
      /no/,
    );
    assert.equal(store.get("a")?.value, 20);
    assert.equal((await open(directory)).get("a")?.value, 20);
  });
});

Deno.test("RecordStore.open() sets damaged files aside and sweeps temporary ones", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/cut.json`, `{"version":1,"id":"cu`);
    await Deno.writeTextFile(`${directory}/new.json`, `{"version":9,"id":"new","name":"n"}`);
    await Deno.writeTextFile(`${directory}/other.json`, `{"version":1,"id":"else","name":"m","value":1}`);
    await Deno.writeTextFile(`${directory}/x.json.tmp`, `{`);
    const store = await open(directory);
    assert.equal(store.size, 0);
    const names = (await Array.fromAsync(Deno.readDir(directory), (entry) => entry.name)).sort();
    assert.deepEqual(names, ["cut.json.damaged", "new.json.damaged", "other.json.damaged"]);
  });
});

Deno.test("RecordStore.subscribe() tells of inserts, updates and removals, until it is disposed", async () => {
  await withDirectory(async (directory) => {
    const store = await open(directory);
    const told: Array<[number | undefined, number | undefined]> = [];
    {
      using _subscription = store.subscribe((record, previous) => told.push([record?.value, previous?.value]));
      await store.insert({ version: 1, id: "aa1", name: "one", value: 1 });
      await store.update("aa1", (thing) => ({ ...thing, value: 2 }));
      await store.update("aa1", (thing) => thing);
      await store.remove("aa1");
      await store.remove("aa1");
    }
    await store.insert({ version: 1, id: "aa2", name: "two", value: 3 });
    assert.deepEqual(told, [[1, undefined], [2, 1], [undefined, 2]]);
  });
});
