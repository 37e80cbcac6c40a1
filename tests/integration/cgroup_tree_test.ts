import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../src/base/errors.ts";
import { directoriesOf, hasController } from "../../src/cgroup/hierarchies.ts";
import { oomKills } from "../../src/cgroup/memory.ts";
import { CgroupTree } from "../../src/cgroup/tree.ts";
import { type CgroupLayout, inspectHost } from "../../src/linux/host.ts";
import { spawnProcess } from "../../src/linux/spawn.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

const { cgroup: own } = await inspectHost();
/** The host as it is; and on a hybrid one its v2 hierarchy alone, as if there were no other. */
const LAYOUTS: readonly CgroupLayout[] = own.mode === "hybrid" ? [own, { ...own, mode: "v2", v1: {} }] : [own];
let serial = 0;

async function withTree(
  layout: CgroupLayout,
  body: (tree: CgroupTree, parent: string) => Promise<void>,
): Promise<void> {
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

for (const layout of LAYOUTS) {
  Deno.test(`${layout.mode}: create() makes a cgroup in each hierarchy, and tells whether it was there`, async () => {
    await withTree(layout, async (tree, parent) => {
      assert.ok(await tree.create(`${parent}/a/b`));
      assert.ok(!await tree.create(`${parent}/a/b`));
      for (const dir of directoriesOf(layout, `${parent}/a/b`)) assert.ok((await Deno.stat(dir)).isDirectory);
      if (hasController(layout, "memory")) assert.equal(await oomKills(layout, `${parent}/a/b`), 0);
    });
  });

  Deno.test(`${layout.mode}: kill() ends all processes below a cgroup, frozen ones too; remove() takes the whole tree`, async () => {
    await withTree(layout, async (tree, parent) => {
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

  Deno.test(`${layout.mode}: remove() of a cgroup in use waits, then names who is in it`, async () => {
    await withTree(layout, async (tree, parent) => {
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
}

Deno.test("remove() refuses the root", async () => {
  await assert.rejects(new CgroupTree(own).remove("/"), FailedPreconditionError);
});
