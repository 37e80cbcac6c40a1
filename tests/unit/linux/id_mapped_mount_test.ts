import assert from "node:assert/strict";
import { bindIdMapped } from "../../../src/linux/id_mapped_mount.ts";
import { mount, unmount } from "../../../src/linux/mount.ts";
import { openUserNamespace } from "../../../src/linux/user_namespace.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const ONE = [{ containerId: 0, hostId: 200_000, length: 65_536 }];
const MAPS = { uidMaps: ONE, gidMaps: ONE };

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "idmap-" });
  try {
    await Deno.mkdir(`${directory}/source/below`, { recursive: true });
    await Deno.mkdir(`${directory}/target`);
    await Deno.writeTextFile(`${directory}/source/file`, "text");
    await Deno.chown(`${directory}/source/file`, 7, 8);
    await body(directory);
  } finally {
    for (const path of ["target", "source/below"]) await unmount(`${directory}/${path}`, { detach: true });
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("bindIdMapped() shows owners as the user namespace has them, and stores new ones as it sees them", async () => {
  await withDirectory(async (directory) => {
    const [source, target] = [`${directory}/source`, `${directory}/target`];
    {
      await using namespace = await openUserNamespace(MAPS);
      bindIdMapped({ source, target, userNamespace: namespace.path });
    }
    const shown = await Deno.stat(`${target}/file`);
    assert.deepEqual([shown.uid, shown.gid], [200_007, 200_008]);
    await Deno.chown(`${target}/file`, 200_001, 200_002);
    const stored = await Deno.stat(`${source}/file`);
    assert.deepEqual([stored.uid, stored.gid], [1, 2]);
  });
});

Deno.test("bindIdMapped() takes mounts below along only when asked, and says what a file system cannot", async () => {
  await withDirectory(async (directory) => {
    const [source, target] = [`${directory}/source`, `${directory}/target`];
    await using namespace = await openUserNamespace(MAPS);
    mount({ source: "proc", target: `${source}/below`, filesystem: "proc" });
    bindIdMapped({ source, target, userNamespace: namespace.path });
    await assert.rejects(Deno.stat(`${target}/below/self`), Deno.errors.NotFound);
    await unmount(target);
    bindIdMapped({ source, target, userNamespace: namespace.path, recursive: true });
    assert.ok((await Deno.stat(`${target}/below/self`)).isDirectory);
    await unmount(target, { detach: true });
    const bad = { source: `${source}/below`, target, userNamespace: namespace.path };
    assert.throws(() => bindIdMapped(bad), /mount_setattr.*EINVAL/);
  });
});
