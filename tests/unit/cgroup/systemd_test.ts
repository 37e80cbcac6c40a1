import assert from "node:assert/strict";
import { DbusReader, type IncomingMessage } from "../../../src/cgroup/dbus_message.ts";
import { startScope, SystemdError } from "../../../src/cgroup/systemd.ts";
import { FakeBus, type Outgoing } from "../../fakes/message_bus.ts";

const SCOPE = { unit: "crio-conmon-a.scope", slice: "kubepods-pod1.slice", pid: 4242 };
const JOB = "/org/freedesktop/systemd1/job/7";

async function withBus(body: (bus: FakeBus) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await using bus = FakeBus.open(directory);
    await body(bus);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Answers one method as told, and all others with nothing. */
function answering(member: string, ...messages: Outgoing[]): FakeBus["answer"] {
  return (call) => call.member === member ? messages : [{ kind: "return" }];
}

function ended(result: string, job = JOB): Outgoing {
  return { kind: "jobRemoved", job, unit: SCOPE.unit, result };
}

Deno.test("startScope() asks for a scope around one process and waits for the job's end", async () => {
  await withBus(async (bus) => {
    const answer: Outgoing[] = [ended("failed", "/other"), { kind: "return", text: JOB }, ended("done")];
    bus.answer = answering("StartTransientUnit", ...answer);
    await startScope({ ...SCOPE, bus: bus.path });
    assert.deepEqual(bus.members, ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]);
    const call = bus.calls.at(-1);
    assert.equal(call?.signature, "ssa(sv)a(sa(sv))");
    const reader = new DbusReader((call as IncomingMessage).body);
    assert.deepEqual([reader.string(), reader.string()], [SCOPE.unit, "fail"]);
    assert.ok(reader.uint32() > 0);
    reader.pad(8);
    assert.deepEqual(
      [reader.string(), reader.signature(), reader.uint32(), reader.uint32()],
      ["PIDs", "au", 4, SCOPE.pid],
    );
    reader.pad(8);
    assert.deepEqual([reader.string(), reader.signature(), reader.string()], ["Slice", "s", SCOPE.slice]);
    reader.pad(8);
    assert.deepEqual([reader.string(), reader.signature(), reader.uint32()], ["DefaultDependencies", "b", 0]);
    reader.pad(8);
    assert.deepEqual([reader.string(), reader.signature(), reader.string()], [
      "CollectMode",
      "s",
      "inactive-or-failed",
    ]);
    assert.equal(reader.uint32(), 0);
    reader.pad(8);
    assert.equal(reader.at, call?.body.length);
  });
});

Deno.test("startScope() knows its job's end also when that comes before the answer", async () => {
  await withBus(async (bus) => {
    bus.answer = answering("StartTransientUnit", ended("done"), { kind: "return", text: JOB });
    await startScope({ ...SCOPE, bus: bus.path });
  });
});

const FAILURES: ReadonlyArray<readonly [string, readonly Outgoing[], RegExp]> = [
  ["a job that fails", [{ kind: "return", text: JOB }, ended("failed")], /StartTransientUnit.*job's result is failed/],
  ["a refusal", [{ kind: "error", name: "a.b.UnitExists", text: "already loaded" }], /already loaded/],
  ["a refusal without words", [{ kind: "error", name: "a.b.AccessDenied", text: "" }], /AccessDenied/],
];

for (const [what, messages, text] of FAILURES) {
  Deno.test(`startScope() tells of ${what}`, async () => {
    await withBus(async (bus) => {
      bus.answer = answering("StartTransientUnit", ...messages);
      const failure = startScope({ ...SCOPE, bus: bus.path });
      await assert.rejects(failure, (error: Error) => error instanceof SystemdError && text.test(error.message));
    });
  });
}

Deno.test("startScope() tells that there is no bus, and ends when its caller goes", async () => {
  await assert.rejects(startScope({ ...SCOPE, bus: "/nonexistent/bus" }), SystemdError);
  await withBus(async (bus) => {
    bus.answer = answering("StartTransientUnit", { kind: "return", text: JOB });
    const caller = new AbortController();
    const waiting = startScope({ ...SCOPE, bus: bus.path, signal: caller.signal });
    setTimeout(() => caller.abort(new Error("gone")), 10);
    await assert.rejects(waiting, /^Error: gone$/);
  });
});
