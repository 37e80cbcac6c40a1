import assert from "node:assert/strict";
import { randomHex } from "../../../src/base/ids.ts";
import { makeImage, openStore, pullInto, withRoots } from "./store_fixture.ts";

/** Flags of the mount and options of the file system at a mount point, as the kernel shows them. */
async function shown(
  path: string,
): Promise<{ readonly flags: readonly string[]; readonly options: readonly string[] }> {
  for (const line of (await Deno.readTextFile("/proc/self/mountinfo")).split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const fields = before.split(" ");
    if (fields[4] === path) {
      return { flags: (fields[5] ?? "").split(","), options: (after.split(" ")[2] ?? "").split(",") };
    }
  }
  throw new Error(`nothing is mounted on ${path}`);
}

Deno.test("mountopt's words become flags of the mount or options of overlay, for containers and images", async () => {
  await withRoots(async (roots) => {
    const image = await makeImage(roots.directory, [{ a: "1" }, { b: "2" }]);
    await using store = await openStore(roots, { mountOptions: ["nodev", "noatime", "rw", "metacopy=on"] });
    const imageId = await pullInto(store, image, { names: ["localhost/a:1"] });
    const id = randomHex(32);
    await store.createContainer({ id, names: ["c"], imageId, metadata: "" });
    const container = await shown(await store.mountContainer(id));
    assert.deepEqual(container.flags.filter((flag) => ["rw", "nodev", "noatime"].includes(flag)), [
      "rw",
      "nodev",
      "noatime",
    ]);
    assert.ok(container.options.includes("metacopy=on"));
    assert.ok(container.options.some((option) => option.includes("volatile")));
    const root = await shown(await store.mountImage(imageId));
    assert.ok(root.flags.includes("ro") && root.flags.includes("nodev"));
    await store.unmountImage(imageId);
    await store.deleteContainer(id);
  });
});

Deno.test("without `volatile` containers are mounted and recorded to outlast a power cut", async () => {
  await withRoots(async (roots) => {
    await using store = await openStore(roots, { volatile: false });
    const id = randomHex(32);
    await store.createContainer({ id, names: ["c"], metadata: "" });
    const { options } = await shown(await store.mountContainer(id));
    assert.ok(!options.some((option) => option.includes("volatile")));
    const [record] = JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/overlay-containers/containers.json`));
    assert.equal(record.id, id);
    await store.deleteContainer(id);
  });
});
