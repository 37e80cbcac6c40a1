import assert from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { DeadlineError, FailedPreconditionError } from "../../src/base/errors.ts";
import { oomKills } from "../../src/cgroup/memory.ts";
import { isAlive, signalProcess } from "../../src/linux/process.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { connectSeqpacket } from "../../src/linux/seqpacket.ts";
import { attachSocketPath, reopenLog, resizeTerminal } from "../../src/oci/monitor/control.ts";
import { type ContainerExit, ExitWatcher, wasOomKilled } from "../../src/oci/monitor/exits.ts";
import { RuntimeError } from "../../src/oci/runtime/errors.ts";
import { OciFixture, type RuntimeName } from "./oci_fixture.ts";

openLibraries();

const RUNTIMES: readonly RuntimeName[] = ["crun", "runc"];
const LIMIT = { signal: AbortSignal.timeout(120_000) };
const SIGKILL = 9;

async function withWatcher(
  fixture: OciFixture,
  body: (watcher: ExitWatcher, exits: ContainerExit[]) => Promise<void>,
): Promise<void> {
  const exits: ContainerExit[] = [];
  await using watcher = await ExitWatcher.start({
    directory: fixture.exitDir,
    log: silentLogger,
    onExit: (exit) => exits.push(exit),
  });
  await body(watcher, exits);
}

for (const name of RUNTIMES) {
  Deno.test(`${name}: a container runs, logs in the CRI format and leaves its exit code`, async () => {
    await using fixture = await OciFixture.make(name);
    await withWatcher(fixture, async (watcher, exits) => {
      const script = "echo out; echo err >&2; exit 7";
      const container = await fixture.create({ args: ["sh", "-c", script] });
      assert.equal((await fixture.runtime.state(container.id))?.status, "created");
      assert.ok(isAlive(container.container) && isAlive(container.monitor));

      await fixture.runtime.start(container.id);
      const exit = await watcher.wait(container.id, LIMIT);

      assert.equal(exit.exitCode, 7);
      assert.ok(Math.abs(Number(exit.finishedAtNanos / 1_000_000n) - Date.now()) < 60_000);
      assert.deepEqual(exits.map(({ id }) => id), [container.id]);
      const lines = (await Deno.readTextFile(container.logPath)).trim().split("\n");
      const stamp = String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d`;
      assert.ok(lines.some((line) => new RegExp(`${stamp} stdout F out$`).test(line)), lines.join("|"));
      assert.ok(lines.some((line) => new RegExp(`${stamp} stderr F err$`).test(line)), lines.join("|"));
      assert.ok(!await wasOomKilled(container.persistDir));
      await fixture.runtime.delete(container.id, { force: true });
      await fixture.runtime.delete(container.id, { force: true });
      await fixture.runtime.delete(container.id);
      assert.equal(await fixture.runtime.state(container.id), undefined);
      assert.ok(!await fixture.tree.exists(container.cgroup));
    });
  });

  Deno.test(`${name}: kill ends a running container and says no to an ended one`, async () => {
    await using fixture = await OciFixture.make(name);
    await withWatcher(fixture, async (watcher) => {
      const { id } = await fixture.run({ args: ["sleep", "1000"] });
      assert.ok(await fixture.runtime.kill(id, "KILL"));
      assert.equal((await watcher.wait(id, LIMIT)).exitCode, 137);
      await fixture.runtime.delete(id, { force: true });
      assert.ok(!await fixture.runtime.kill(id, 15));
    });
  });

  Deno.test(`${name}: a command that does not exist is named in the error, and nothing is left`, async () => {
    await using fixture = await OciFixture.make(name);
    const request = await fixture.prepare({ args: ["/no/such/program"] });
    const error = await fixture.conmon.create(request).then(
      // crun looks for the program at create, runc 1.1 too; a start that fails says the same.
      async () => await fixture.runtime.start(request.id).then(() => undefined, (thrown: unknown) => thrown),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.failure, "executable_not_found");
    assert.match(error.message, /\/no\/such\/program/);
    assert.equal(await fixture.runtime.state(request.id), undefined);
    assert.deepEqual(await fixture.tree.processes(request.cgroup), []);
  });

  Deno.test(`${name}: a process that takes too much memory is seen as killed for it`, async () => {
    await using fixture = await OciFixture.make(name);
    await withWatcher(fixture, async (watcher) => {
      const container = await fixture.run({
        args: ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"],
        memoryLimitBytes: 16 << 20,
      });
      const exit = await watcher.wait(container.id, LIMIT);
      assert.equal(exit.exitCode, 137);
      assert.ok(await wasOomKilled(container.persistDir));
      assert.ok((await oomKills(fixture.tree.layout, container.cgroup) ?? 0) > 0);
    });
  });

  Deno.test(`${name}: pause freezes, resume thaws, update sets a limit`, async () => {
    await using fixture = await OciFixture.make(name);
    const { id, cgroup } = await fixture.run({ args: ["sleep", "1000"] });
    await fixture.runtime.pause(id);
    assert.equal((await fixture.runtime.state(id))?.status, "paused");
    await fixture.runtime.resume(id);
    assert.equal((await fixture.runtime.state(id))?.status, "running");
    await fixture.runtime.update(id, { memory: { limit: 64 << 20 } });
    const { layout } = fixture.tree;
    const file = layout.mode === "v2"
      ? `${layout.unified}${cgroup}/memory.max`
      : `${layout.v1["memory"]}${cgroup}/memory.limit_in_bytes`;
    assert.equal((await Deno.readTextFile(file)).trim(), String(64 << 20));
  });
}

Deno.test("reopenLog() makes the monitor write to a new file", async () => {
  await using fixture = await OciFixture.make("crun");
  const { id, bundle, logPath, monitor } = await fixture.run({ args: ["sh", "-c", "echo one; sleep 1000"] });
  await firstLine(logPath);
  await Deno.rename(logPath, `${logPath}.1`);
  await reopenLog({ bundle, logPath, ...LIMIT });
  assert.equal(await Deno.readTextFile(logPath), "");
  assert.match(await Deno.readTextFile(`${logPath}.1`), /one/);
  await reopenLog({ bundle, logPath, ...LIMIT });

  assert.ok(signalProcess(monitor, SIGKILL));
  await fixture.runtime.kill(id, "KILL");
  await untilDead(() => isAlive(monitor));
  await assert.rejects(reopenLog({ bundle, logPath, ...LIMIT }), FailedPreconditionError);
  assert.throws(() => resizeTerminal(bundle, { width: 1, height: 1 }), FailedPreconditionError);
});

Deno.test("create() out of time kills the monitor and the runtime below it", async () => {
  await using fixture = await OciFixture.make("crun");
  const slow = `${fixture.root}/slow-runtime`;
  const marker = `${fixture.root}/slow.pid`;
  await Deno.writeTextFile(slow, `#!/bin/sh\ncase "$*" in *create*) echo $$ > ${marker}; exec sleep 1000;; esac\n`);
  await Deno.chmod(slow, 0o755);
  const request = await fixture.prepare({ args: ["true"], create: { timeoutMs: 1000 } });
  Object.defineProperty(fixture.runtime, "path", { value: slow });
  await assert.rejects(fixture.conmon.create(request), DeadlineError);
  const pid = (await Deno.readTextFile(marker)).trim();
  await untilDead(() => /^State:\s+[^ZX]/m.test(statusOf(pid)));
  const monitor = (await Deno.readTextFile(request.monitorPidFile)).trim();
  await untilDead(() => /^State:\s+[^ZX]/m.test(statusOf(monitor)));
});

Deno.test("create() gives the caller's reason when it is aborted, and leaves no process", async () => {
  await using fixture = await OciFixture.make("crun");
  for (const delayMs of [0, 2, 5, 10, 20]) {
    const abort = new AbortController();
    const request = await fixture.prepare({ args: ["sleep", "1000"], create: { signal: abort.signal } });
    const timer = setTimeout(() => abort.abort(new Error("gone")), delayMs);
    const made = await fixture.conmon.create(request).then(() => true, (error: Error) => error.message);
    clearTimeout(timer);
    if (made === true) await fixture.runtime.delete(request.id, { force: true });
    else assert.equal(made, "gone");
    assert.equal(await fixture.runtime.state(request.id), undefined);
    await fixture.tree.kill(request.cgroup);
    assert.deepEqual(await fixture.tree.processes(request.cgroup), []);
  }
});

Deno.test("create() with a conmon that cannot run says so", async () => {
  await using fixture = await OciFixture.make("crun");
  const request = await fixture.prepare({ args: ["true"], create: { logPaths: ["/nonexistent/folder/0.log"] } });
  const error = await fixture.conmon.create(request).then(() => undefined, (thrown: unknown) => thrown);
  assert.ok(error instanceof RuntimeError, String(error));
  assert.match(error.message, /log|nonexistent/);
});

Deno.test("a killed monitor is seen as dead while its container runs on", async () => {
  await using fixture = await OciFixture.make("crun");
  const { container, monitor } = await fixture.run({ args: ["sleep", "1000"] });
  assert.ok(signalProcess(monitor, SIGKILL));
  await untilDead(() => isAlive(monitor));
  assert.ok(isAlive(container));
});

Deno.test("the monitor goes into the cgroup that it is placed in", async () => {
  await using fixture = await OciFixture.make("crun");
  const cgroup = `${fixture.parent}/crio-conmon-x`;
  const place = async (pid: number): Promise<void> => {
    await fixture.tree.create(cgroup);
    await fixture.tree.addProcess(cgroup, pid);
  };
  const { monitor } = await fixture.run({ args: ["sleep", "1000"], create: { place } });
  assert.ok((await fixture.tree.processes(cgroup)).includes(monitor.pid));
});

Deno.test("attachSocketPath() is where conmon listens, with a long directory too", async () => {
  await using fixture = await OciFixture.make("crun");
  for (const length of [70, 88, 120]) {
    const socketDir = `${fixture.root}/${"s".repeat(length - fixture.root.length)}`;
    await Deno.mkdir(socketDir, { recursive: true });
    const { id } = await fixture.create({ args: ["sleep", "1000"], create: { socketDir } });
    const path = attachSocketPath(socketDir, id);
    assert.ok((await Deno.lstat(path)).isSocket, path);
    connectSeqpacket(path).close();
  }
});

Deno.test("ExitWatcher tells exits that were there before, later ones, and each once", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-exits-" });
  const exits: ContainerExit[] = [];
  try {
    await Deno.writeTextFile(`${directory}/before`, "3");
    await Deno.writeTextFile(`${directory}/before.A1B2C3`, "9");
    await Deno.writeTextFile(`${directory}/garbage`, "x");
    await using watcher = await ExitWatcher.start({ directory, log: silentLogger, onExit: (e) => exits.push(e) });
    assert.deepEqual(exits.map(({ id, exitCode }) => [id, exitCode]), [["before", 3]]);
    const waiting = watcher.wait("later", LIMIT);
    await Deno.writeTextFile(`${directory}/later.XYZ`, "143");
    await Deno.rename(`${directory}/later.XYZ`, `${directory}/later`);
    assert.equal((await waiting).exitCode, 143);
    await watcher.scan();
    await assert.rejects(watcher.wait("never", { signal: AbortSignal.timeout(20) }), { name: "TimeoutError" });
    assert.deepEqual(exits.map(({ id }) => id), ["before", "later"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

async function firstLine(path: string): Promise<void> {
  using watcher = Deno.watchFs(path);
  if ((await Deno.stat(path)).size > 0) return;
  for await (const _event of watcher) if ((await Deno.stat(path)).size > 0) return;
}

/** For processes that are nobody's child here: nothing tells of their end. */
async function untilDead(isLiving: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && isLiving(); i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(!isLiving());
}

function statusOf(pid: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/status`);
  } catch {
    return "";
  }
}
