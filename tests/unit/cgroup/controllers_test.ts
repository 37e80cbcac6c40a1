import assert from "node:assert/strict";
import {
  accountingDirectories,
  controllerDirectory,
  directoriesOf,
  hasController,
  processDirectory,
} from "../../../src/cgroup/hierarchies.ts";
import { parseOomKills } from "../../../src/cgroup/memory.ts";
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
