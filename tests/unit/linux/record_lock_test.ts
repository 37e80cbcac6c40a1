import assert from "node:assert/strict";
import { RecordLockFile } from "../../../src/linux/record_lock.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

async function withPath(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "lock-" });
  try {
    await body(`${directory}/x.lock`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("RecordLockFile excludes writers from each other and lets readers share", async () => {
  await withPath((path) => {
    using a = RecordLockFile.open(path);
    using b = RecordLockFile.open(path);
    assert.ok(a.tryLock("write"));
    assert.ok(!b.tryLock("write"));
    assert.ok(!b.tryLock("read"));
    a.unlock();
    assert.ok(a.tryLock("read"));
    assert.ok(b.tryLock("read"));
    assert.ok(!b.tryLock("write"));
    a.unlock();
    assert.ok(b.tryLock("write"), "a reader alone may become the writer");
    return Promise.resolve();
  });
});

Deno.test("RecordLockFile.lock() waits for its turn, and an aborted wait rejects", async () => {
  await withPath(async (path) => {
    using a = RecordLockFile.open(path);
    using b = RecordLockFile.open(path);
    a.tryLock("write");
    const controller = new AbortController();
    const aborted = b.lock("write", { signal: controller.signal });
    controller.abort(new Error("gone"));
    await assert.rejects(aborted, /gone/);
    const waiting = b.lock("write");
    a.unlock();
    await waiting;
    assert.ok(!a.tryLock("write"));
  });
});

Deno.test("RecordLockFile respects a process-owned fcntl lock and names its holder", async () => {
  await withPath(async (path) => {
    await Deno.writeTextFile(path, "");
    const script =
      "import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\n" +
      "sys.stdin.read()";
    await using child = new Deno.Command("python3", { args: ["-c", script, path], stdin: "piped", stdout: "piped" })
      .spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    using lock = RecordLockFile.open(path);
    assert.ok(!lock.tryLock("write"));
    assert.equal(lock.holder(), child.pid);
    await child.stdin.close();
    await child.status;
    await reader.cancel();
    assert.ok(lock.tryLock("write"));
  });
});

Deno.test("RecordLockFile gives a held lock back when it is disposed", async () => {
  await withPath((path) => {
    {
      using a = RecordLockFile.open(path);
      a.tryLock("write");
    }
    using b = RecordLockFile.open(path);
    assert.ok(b.tryLock("write"));
    b.write(new Uint8Array([1, 2, 3]));
    assert.deepEqual(b.read(64), new Uint8Array([1, 2, 3]));
    return Promise.resolve();
  });
});
