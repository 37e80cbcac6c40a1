import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../src/base/errors.ts";
import { directoriesOf } from "../../src/cgroup/hierarchies.ts";
import { oomKills } from "../../src/cgroup/memory.ts";
import { CgroupTree } from "../../src/cgroup/tree.ts";
import { inspectHost } from "../../src/linux/host.ts";
import { spawnProcess } from "../../src/linux/spawn.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

const { cgroup: layout } = await inspectHost();
let serial = 0;

async function withTree(body: (tree: CgroupTree, parent: string) => Promise<void>): Promise<void> {
  const tree = new CgroupTree(layout);
  const parent = `/crio-test-tree-${Deno.pid}-${serial++}`;
  try {
    await body(tree, parent);
  } finally {
    await tree.kill(parent);
    await tree.remove(parent);
    assert.ok(!await tree.exists(parent));
  }
}

const sleeper = (): { pid: number; exited: Promise<unknown> } => spawnProcess(["/bin/sleep", "1000"], { env: {} });

Deno.test("create() makes a cgroup in each hierarchy, and tells whether it was there", async () => {
  await withTree(async (tree, parent) => {
    assert.ok(await tree.create(`${parent}/a/b`));
    assert.ok(!await tree.create(`${parent}/a/b`));
    for (const dir of directoriesOf(layout, `${parent}/a/b`)) assert.ok((await Deno.stat(dir)).isDirectory);
    assert.equal(await oomKills(layout, `${parent}/a/b`), 0);
  });
});

Deno.test("kill() ends all processes below a cgroup, frozen ones too; remove() takes the whole tree", async () => {
  await withTree(async (tree, parent) => {
    await tree.create(`${parent}/a/b`);
    const [one, two] = [sleeper(), sleeper()];
    await tree.addProcess(`${parent}/a`, one.pid);
    await tree.addProcess(`${parent}/a/b`, two.pid);
    assert.deepEqual((await tree.processes(parent)).sort(), [one.pid, two.pid].sort());
    const freezer = layout.v1["freezer"];
    if (freezer !== undefined) await Deno.writeTextFile(`${freezer}${parent}/a/freezer.state`, "FROZEN");
    await tree.kill(parent);
    await Promise.all([one.exited, two.exited]);
    assert.deepEqual(await tree.processes(parent), []);
    await tree.remove(parent);
    assert.ok(!await tree.exists(parent));
    await tree.remove(parent);
    assert.deepEqual(await tree.processes(parent), []);
  });
});

Deno.test("remove() of a cgroup in use waits, then names who is in it", async () => {
  await withTree(async (tree, parent) => {
    await tree.create(parent);
    const child = sleeper();
    await tree.addProcess(parent, child.pid);
    const removal = tree.remove(parent, { timeoutMs: 50 });
    await assert.rejects(removal, (error: Error) => {
      return error instanceof FailedPreconditionError && error.message.includes(String(child.pid));
    });
    const patient = tree.remove(parent);
    await tree.kill(parent);
    await patient;
    await child.exited;
  });
});

Deno.test("remove() refuses the root", async () => {
  await assert.rejects(new CgroupTree(layout).remove("/"), FailedPreconditionError);
});
