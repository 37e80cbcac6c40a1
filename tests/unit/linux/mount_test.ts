import assert from "node:assert/strict";
import { isErrno } from "../../../src/linux/errno.ts";
import { bindMount, mount, MOUNT_FLAG, mountOverlay, setPropagation, unmount } from "../../../src/linux/mount.ts";
import { isBelow, readMounts } from "../../../src/linux/mountinfo.ts";
import { filesystemStats } from "../../../src/linux/statfs.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mount-" });
  try {
    await body(directory);
    assert.deepEqual((await readMounts()).filter((entry) => isBelow(entry.mountPoint, directory)), []);
  } finally {
    for (const entry of (await readMounts()).reverse()) {
      if (isBelow(entry.mountPoint, directory)) await unmount(entry.mountPoint, { detach: true });
    }
    await Deno.remove(directory, { recursive: true });
  }
}

async function directories(base: string, names: readonly string[]): Promise<void> {
  for (const name of names) await Deno.mkdir(`${base}/${name}`);
}

Deno.test("mount() and unmount() of a tmpfs, with statfs telling it apart", async () => {
  await withDirectory(async (directory) => {
    mount({
      source: "tmpfs",
      target: directory,
      filesystem: "tmpfs",
      flags: MOUNT_FLAG.nodev,
      data: "size=1m,mode=700",
    });
    setPropagation(directory, "private");
    const TMPFS_MAGIC = 0x01021994;
    const stats = filesystemStats(directory);
    assert.equal(stats.type, TMPFS_MAGIC);
    assert.equal(stats.totalBytes, 1024 * 1024);
    assert.ok(await unmount(directory));
    assert.ok(!(await unmount(directory)), "nothing is mounted any more");
  });
});

Deno.test("unmount() says EBUSY of a mount in use, and detach ends it", async () => {
  await withDirectory(async (directory) => {
    mount({ source: "tmpfs", target: directory, filesystem: "tmpfs" });
    {
      using _open = await Deno.open(`${directory}/f`, { write: true, create: true });
      await assert.rejects(unmount(directory), (error) => isErrno(error, "EBUSY"));
      assert.ok(await unmount(directory, { detach: true }));
    }
  });
});

Deno.test("mount() names the target in its error", async () => {
  await withDirectory((directory) => {
    const target = `${directory}/absent`;
    assert.throws(() => mount({ source: "x", target, filesystem: "tmpfs" }), /absent.*ENOENT/);
    return Promise.resolve();
  });
});

Deno.test("bindMount() readonly refuses writes", async () => {
  await withDirectory(async (directory) => {
    await directories(directory, ["a", "b"]);
    bindMount(`${directory}/a`, `${directory}/b`, { readonly: true });
    await assert.rejects(Deno.writeTextFile(`${directory}/b/x`, ""), /Read-only/);
    assert.ok(await unmount(`${directory}/b`));
  });
});

Deno.test("mountOverlay() mounts more layers than absolute paths leave room for, and comes back to the directory", async () => {
  await withDirectory(async (directory) => {
    const here = Deno.cwd();
    await directories(directory, ["l", "upper", "work", "merged", "a-directory-with-a-rather-long-name-for-no-reason"]);
    const base = `${directory}/a-directory-with-a-rather-long-name-for-no-reason`;
    const lower: string[] = [];
    for (let i = 0; i < 120; i++) {
      const path = `${base}/LAYERLAYERLAYERLAYER${i}`;
      await Deno.mkdir(path);
      await Deno.writeTextFile(`${path}/f${i}`, `${i}`);
      lower.push(path);
    }
    const target = `${directory}/merged`;
    mountOverlay({ target, base, lower, upper: `${directory}/upper`, work: `${directory}/work` });
    assert.equal(Deno.cwd(), here);
    assert.equal(await Deno.readTextFile(`${target}/f119`), "119");
    assert.equal((await Array.fromAsync(Deno.readDir(target))).length, 120);
    assert.ok(await unmount(target));
    const many = Array.from({ length: 300 }, () => lower[0] ?? "");
    assert.throws(() => mountOverlay({ target, base, lower: many }), /E2BIG/);
  });
});
