import assert from "node:assert/strict";
import { adoptOrphans } from "../../src/linux/spawn.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import type { ExecOutcome, ExecRequest } from "../../src/oci/runtime/exec.ts";
import { RuntimeError } from "../../src/oci/runtime/errors.ts";
import { OciFixture, processSpec, type RuntimeName } from "./oci_fixture.ts";

openLibraries();

const RUNTIMES: readonly RuntimeName[] = ["crun", "runc"];
const MIB = 1024 * 1024;

interface Session extends AsyncDisposable {
  readonly fixture: OciFixture;
  readonly id: string;
  readonly cgroup: string;
  sh(script: string, options?: Partial<ExecRequest> & { readonly uid?: number }): Promise<ExecOutcome>;
}

/** As in the daemon: processes that an exec leaves behind are reaped at once. */
async function session(name: RuntimeName): Promise<Session> {
  const adoption = adoptOrphans();
  const fixture = await OciFixture.make(name);
  const { id, cgroup } = await fixture.run({ args: ["sleep", "1000"] });
  return {
    fixture,
    id,
    cgroup,
    sh: (script, options = {}) =>
      fixture.runtime.execSync(id, {
        processSpec: processSpec(["sh", "-c", script], options),
        directory: fixture.execDir,
        timeoutMs: 60_000,
        ...options,
      }),
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await fixture[Symbol.asyncDispose]();
      adoption[Symbol.dispose]();
    },
  };
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

async function filesIn(directory: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
}

for (const name of RUNTIMES) {
  Deno.test(`${name}: execSync() gives both outputs and the exit code`, async () => {
    await using s = await session(name);
    const outcome = await s.sh("echo out; echo err >&2; exit 7");
    assert.equal(text(outcome.stdout), "out\n");
    assert.equal(text(outcome.stderr), "err\n");
    assert.equal(outcome.exitCode, 7);
    assert.ok(!outcome.timedOut && !outcome.truncated);
    assert.equal((await s.sh("exit 255")).exitCode, 255);
    assert.equal((await s.sh("kill -9 $$")).exitCode, 137);
    assert.deepEqual(await filesIn(s.fixture.execDir), []);
  });

  Deno.test(`${name}: execSync() has an input at its end, and outputs that open again`, async () => {
    await using s = await session(name);
    const outcome = await s.sh("cat; echo again > /proc/self/fd/2; ls /proc/self/fd | tr '\\n' ' '", { uid: 1000 });
    assert.equal(text(outcome.stderr), "again\n");
    assert.match(text(outcome.stdout), /^0 1 2 3 $/);
  });

  Deno.test(`${name}: execSync() of a program that does not exist says so`, async () => {
    await using s = await session(name);
    const request = { processSpec: processSpec(["/no/such"]), directory: s.fixture.execDir };
    const error = await s.fixture.runtime.execSync(s.id, request).then(() => undefined, (thrown: unknown) => thrown);
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.failure, "executable_not_found");
    assert.match(error.message, /exec of container .*\/no\/such/);
  });

  Deno.test(`${name}: execSync() in a container that is not there is refused`, async () => {
    await using s = await session(name);
    const request = { processSpec: processSpec(["true"]), directory: s.fixture.execDir };
    const error = await s.fixture.runtime.execSync("absent", request).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, "not_found");
  });

  Deno.test(`${name}: execSync() out of time kills the process with all below it`, async () => {
    await using s = await session(name);
    const before = await s.fixture.tree.processes(s.cgroup);
    const startMs = performance.now();
    const outcome = await s.sh("echo begun; (sleep 999 & sleep 999) & sleep 999", { timeoutMs: 500 });
    assert.ok(performance.now() - startMs < 5000);
    assert.deepEqual([outcome.exitCode, outcome.timedOut, text(outcome.stdout)], [-1, true, "begun\n"]);
    await until(async () => (await s.fixture.tree.processes(s.cgroup)).length === before.length);
    assert.deepEqual(await s.fixture.tree.processes(s.cgroup), before);
    assert.deepEqual(await filesIn(s.fixture.execDir), []);
  });

  Deno.test(`${name}: execSync() of eight at once keeps them apart`, async () => {
    await using s = await session(name);
    const outcomes = await Promise.all(Array.from({ length: 8 }, (_, i) => s.sh(`echo ${i}; exit ${i}`)));
    assert.deepEqual(outcomes.map((o) => [text(o.stdout), o.exitCode]), outcomes.map((_, i) => [`${i}\n`, i]));
  });
}

Deno.test("execSync() keeps 16 MiB of both outputs together and drops the rest", async () => {
  await using s = await session("crun");
  const outcome = await s.sh("yes | head -c 12582912; yes | head -c 12582912 >&2; exit 3");
  assert.equal(outcome.stdout.length + outcome.stderr.length, 16 * MIB);
  assert.ok(outcome.truncated);
  assert.equal(outcome.exitCode, 3);
  const exact = await s.sh("yes | head -c 5000000");
  assert.equal(exact.stdout.length, 5_000_000);
  assert.ok(!exact.truncated);
});

Deno.test("execSync() returns although a process that it left behind holds the output", async () => {
  await using s = await session("crun");
  const startMs = performance.now();
  const outcome = await s.sh("sleep 999 & echo done");
  assert.equal(text(outcome.stdout), "done\n");
  assert.ok(performance.now() - startMs < 5000);
});

Deno.test("execSync() that is aborted kills the process and gives the reason", async () => {
  await using s = await session("crun");
  const before = await s.fixture.tree.processes(s.cgroup);
  const abort = new AbortController();
  const running = s.sh("echo up; sleep 999", { signal: abort.signal });
  await until(async () => (await s.fixture.tree.processes(s.cgroup)).length > before.length);
  abort.abort(new Error("client went away"));
  await assert.rejects(running, /client went away/);
  await until(async () => (await s.fixture.tree.processes(s.cgroup)).length === before.length);
});

/** The kernel's clean-up of killed processes tells nobody. */
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500 && !await isTrue(); i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(await isTrue());
}
