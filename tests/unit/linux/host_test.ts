import assert from "node:assert/strict";
import { cgroupLayout, inspectHost, parseCapabilities, parseKernelRelease } from "../../../src/linux/host.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const line = (id: number, point: string, rest: string): string => `${id} 1 0:${id} / ${point} rw,relatime - ${rest}`;
const V2 = line(30, "/sys/fs/cgroup", "cgroup2 cgroup2 rw,nsdelegate");
const V1 = [
  line(31, "/sys/fs/cgroup/cpu,cpuacct", "cgroup cgroup rw,cpu,cpuacct"),
  line(32, "/sys/fs/cgroup/memory", "cgroup cgroup rw,memory"),
  line(33, "/sys/fs/cgroup/systemd", "cgroup cgroup rw,xattr,release_agent=/lib/a,name=systemd"),
  line(34, "/elsewhere/memory", "cgroup cgroup rw,memory"),
].join("\n");
const noFile = (): Promise<string> => Promise.resolve("");

Deno.test("cgroupLayout() knows a pure v2 host", async () => {
  const read = (path: string): Promise<string> =>
    Promise.resolve(path === "/sys/fs/cgroup/cgroup.controllers" ? "cpu io memory\n" : "");
  assert.deepEqual(await cgroupLayout(V2, read), {
    mode: "v2",
    v1: {},
    unified: "/sys/fs/cgroup",
    unifiedControllers: ["cpu", "io", "memory"],
  });
});

Deno.test("cgroupLayout() knows a v1 host, by the first mount of each controller", async () => {
  assert.deepEqual(await cgroupLayout(V1, noFile), {
    mode: "v1",
    v1: {
      cpu: "/sys/fs/cgroup/cpu,cpuacct",
      cpuacct: "/sys/fs/cgroup/cpu,cpuacct",
      memory: "/sys/fs/cgroup/memory",
      "name=systemd": "/sys/fs/cgroup/systemd",
    },
    unifiedControllers: [],
  });
});

Deno.test("cgroupLayout() knows a hybrid host, and systemd's own v1 hierarchy beside v2 as none", async () => {
  const unified = line(35, "/sys/fs/cgroup/uni\\040fied", "cgroup2 cgroup2 rw");
  const hybrid = await cgroupLayout(`${V1}\n${unified}`, () => Promise.resolve("hugetlb\n"));
  assert.equal(hybrid.mode, "hybrid");
  assert.equal(hybrid.unified, "/sys/fs/cgroup/uni fied");
  assert.deepEqual(hybrid.unifiedControllers, ["hugetlb"]);
  const named = line(33, "/sys/fs/cgroup/systemd", "cgroup cgroup rw,name=systemd");
  assert.equal((await cgroupLayout(`${V2}\n${named}`, noFile)).mode, "v2");
});

Deno.test("parseCapabilities() names the bits", () => {
  const status = "Name:\tx\nCapEff:\t0000000000000003\nCapBnd:\t000001ffffffffff\n";
  assert.deepEqual(parseCapabilities(status, "CapEff"), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
  assert.equal(parseCapabilities(status, "CapBnd").length, 41);
  assert.equal(parseCapabilities(status, "CapBnd")[21], "CAP_SYS_ADMIN");
  assert.deepEqual(parseCapabilities(status, "CapAmb"), []);
});

Deno.test("parseKernelRelease() takes the first two numbers", () => {
  assert.deepEqual(parseKernelRelease("6.1.0-18-amd64\n"), { release: "6.1.0-18-amd64", major: 6, minor: 1 });
  assert.equal(parseKernelRelease("?").major, 0);
});

Deno.test("inspectHost() reads another root, and takes what is missing for absent", async () => {
  const root = await Deno.makeTempDir({ prefix: "host-" });
  const write = async (path: string, text: string): Promise<void> => {
    await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(root + path, text);
  };
  try {
    const empty = await inspectHost({ root });
    assert.deepEqual([empty.systemd, empty.selinux, empty.overlay, empty.programs], [false, "absent", false, {}]);
    await write("/proc/sys/kernel/osrelease", "5.15.0\n");
    await write("/proc/filesystems", "nodev\tsysfs\nnodev\toverlay\n");
    await write("/sys/fs/selinux/enforce", "1");
    await write("/sys/module/apparmor/parameters/enabled", "Y\n");
    await write("/run/systemd/system/x", "");
    await write("/proc/1/comm", "systemd\n");
    await write("/usr/sbin/nft", "");
    await write("/proc/self/mountinfo", V1);
    const host = await inspectHost({ root });
    assert.deepEqual([host.systemd, host.selinux, host.apparmor, host.overlay], [true, "enforcing", true, true]);
    assert.deepEqual([host.idMappedMounts, host.idMappedOverlay], [true, false]);
    assert.deepEqual(host.programs, { nft: "/usr/sbin/nft" });
    assert.equal(host.cgroup.mode, "v1");
    // A kernel with SELinux but no policy.
    await write("/proc/self/attr/current", "kernel\0");
    assert.equal((await inspectHost({ root })).selinux, "absent");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
