import assert from "node:assert/strict";
import {
  accountingDirectories,
  controllerDirectory,
  directoriesOf,
  hasController,
  processDirectory,
} from "../../../src/cgroup/hierarchies.ts";
import { parseOomKills } from "../../../src/cgroup/memory.ts";
import { startScope, stopUnit, SystemdError } from "../../../src/cgroup/systemd.ts";
import type { CgroupLayout } from "../../../src/linux/host.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const V2: CgroupLayout = { mode: "v2", v1: {}, unified: "/sys/fs/cgroup", unifiedControllers: ["memory", "hugetlb"] };
const HYBRID: CgroupLayout = {
  mode: "hybrid",
  v1: { cpu: "/cg/cpu,cpuacct", cpuacct: "/cg/cpu,cpuacct", memory: "/cg/memory", "name=systemd": "/cg/systemd" },
  unified: "/cg/unified",
  unifiedControllers: ["hugetlb"],
};

Deno.test("directoriesOf() names each hierarchy once", () => {
  assert.deepEqual(directoriesOf(V2, "/a"), ["/sys/fs/cgroup/a"]);
  assert.deepEqual(directoriesOf(HYBRID, "/a"), [
    "/cg/cpu,cpuacct/a",
    "/cg/memory/a",
    "/cg/systemd/a",
    "/cg/unified/a",
  ]);
});

Deno.test("controllerDirectory() sees a hybrid host as the runtimes do: v1 only", () => {
  assert.equal(controllerDirectory(V2, "memory", { path: "/a" }), "/sys/fs/cgroup/a");
  assert.equal(controllerDirectory(HYBRID, "memory", { path: "/a" }), "/cg/memory/a");
  assert.ok(!hasController(HYBRID, "hugetlb"));
  assert.ok(hasController(V2, "hugetlb"));
  assert.equal(processDirectory(HYBRID, "/a"), "/cg/memory/a");
});

Deno.test("accountingDirectories() names the hierarchies that count, each once", () => {
  assert.deepEqual(accountingDirectories(V2, "/a"), ["/sys/fs/cgroup/a"]);
  assert.deepEqual(accountingDirectories(HYBRID, "/a"), ["/cg/memory/a", "/cg/cpu,cpuacct/a"]);
});

Deno.test("parseOomKills() reads v2's memory.events and v1's memory.oom_control", () => {
  assert.equal(parseOomKills("low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n"), 3);
  assert.equal(parseOomKills("oom_kill_disable 0\nunder_oom 1\noom_kill 5\n"), 5);
  assert.equal(parseOomKills(""), 0);
});

async function withBusctl(script: string, body: (busctl: string, log: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "busctl-" });
  try {
    await Deno.writeTextFile(`${directory}/busctl`, `#!/bin/sh\necho "$@" > ${directory}/log\n${script}\n`);
    await Deno.chmod(`${directory}/busctl`, 0o755);
    await body(`${directory}/busctl`, `${directory}/log`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("startScope() asks systemd for a transient scope around one process", async () => {
  await withBusctl("exit 0", async (busctl, log) => {
    await startScope({ unit: "crio-conmon-a.scope", slice: "system.slice", pid: 42, busctl });
    const said = await Deno.readTextFile(log);
    assert.match(
      said,
      /StartTransientUnit ssa\(sv\)a\(sa\(sv\)\) crio-conmon-a.scope fail 3 PIDs au 1 42 Slice s system/,
    );
  });
});

Deno.test("systemd's refusals are errors, but for stopping a unit that is not there", async () => {
  await withBusctl("echo 'Call failed: Unit a.scope not loaded.' >&2; exit 1", async (busctl) => {
    await stopUnit({ unit: "a.scope", busctl });
    const start = startScope({ unit: "a.scope", slice: "b.slice", pid: 1, busctl });
    await assert.rejects(start, (error: Error) => error instanceof SystemdError && /not loaded/.test(error.message));
  });
  const absent = startScope({ unit: "a.scope", slice: "b.slice", pid: 1, busctl: "/nonexistent/busctl" });
  await assert.rejects(absent, /install systemd's busctl/);
});
