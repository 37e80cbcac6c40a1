import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/base/errors.ts";
import { ALL_CAPABILITIES, resolveCapabilities } from "../../../../src/oci/spec/capabilities.ts";
import { deviceRules } from "../../../../src/oci/spec/devices.ts";
import { ociLimits, ociResources } from "../../../../src/oci/spec/resources.ts";
import {
  bindOptions,
  cleanPath,
  defaultMounts,
  mergeMounts,
  readonlySysfsPaths,
  uncovered,
} from "../../../../src/oci/spec/mounts.ts";

const BASE = {
  privileged: false,
  add: [] as string[],
  drop: [] as string[],
  addAmbient: [] as string[],
  defaults: ["CHOWN", "KILL"],
  available: new Set(ALL_CAPABILITIES),
  addInheritable: false,
};

const LIMITS = {
  hasHugetlb: true,
  hasCpuset: true,
  hasSwap: true,
  hasUnified: true,
  unsetsQuota: true,
  minMemoryBytes: 5,
};

const CAPABILITY_CASES: ReadonlyArray<[string, Partial<typeof BASE>, readonly string[]]> = [
  ["nothing said gives the defaults", {}, ["CAP_CHOWN", "CAP_KILL"]],
  ["add and drop in any spelling", { add: ["net_admin", "CAP_SYS_TIME"], drop: ["kill"] }, [
    "CAP_CHOWN",
    "CAP_NET_ADMIN",
    "CAP_SYS_TIME",
  ]],
  ["drop all, add one", { drop: ["ALL"], add: ["NET_RAW"] }, ["CAP_NET_RAW"]],
  ["drop all", { drop: ["all"] }, []],
  ["add all, drop one", { add: ["ALL"], drop: ["SYS_ADMIN"] }, ALL_CAPABILITIES.filter((c) => c !== "CAP_SYS_ADMIN")],
  ["privileged has all", { privileged: true, drop: ["ALL"] }, ALL_CAPABILITIES],
];

for (const [name, changes, expected] of CAPABILITY_CASES) {
  Deno.test(`resolveCapabilities() is right when: ${name}`, () => {
    const { sets } = resolveCapabilities({ ...BASE, ...changes });
    assert.deepEqual(sets, { bounding: expected, effective: expected, permitted: expected });
  });
}

Deno.test("resolveCapabilities() leaves out what the node lacks and names what was asked for in vain", () => {
  const available = new Set(ALL_CAPABILITIES.filter((name) => name !== "CAP_SYS_RESOURCE"));
  const { sets, missing } = resolveCapabilities({ ...BASE, available, privileged: true, add: ["SYS_RESOURCE"] });
  assert.equal(sets.bounding.length, ALL_CAPABILITIES.length - 1);
  assert.deepEqual(missing, ["CAP_SYS_RESOURCE"]);
});

Deno.test("resolveCapabilities() raises ambient capabilities in all sets", () => {
  const { sets } = resolveCapabilities({ ...BASE, addAmbient: ["NET_BIND_SERVICE"] });
  assert.deepEqual(sets.ambient, ["CAP_NET_BIND_SERVICE"]);
  assert.deepEqual(sets.inheritable, ["CAP_NET_BIND_SERVICE"]);
  assert.ok(sets.permitted.includes("CAP_NET_BIND_SERVICE"));
});

Deno.test("resolveCapabilities() refuses unknown names", () => {
  assert.throws(() => resolveCapabilities({ ...BASE, add: ["FLY"] }), InvalidArgumentError);
  assert.throws(() => resolveCapabilities({ ...BASE, drop: [""] }), InvalidArgumentError);
});

Deno.test("mergeMounts() lets later mounts replace earlier ones and puts parents first", () => {
  const mount = (destination: string, source: string) => ({ destination, type: "bind", source, options: [] });
  const merged = mergeMounts(
    [mount("/a", "default-a"), mount("/dev", "default-dev"), mount("/dev/shm", "shm")],
    [mount("/a/b/c", "deep"), mount("/a/b/", "user-b"), mount("/dev/../a", "user-a")],
  );
  assert.deepEqual(merged.map((m) => [m.destination, m.source]), [
    ["/dev", "default-dev"],
    ["/a", "user-a"],
    ["/dev/shm", "shm"],
    ["/a/b", "user-b"],
    ["/a/b/c", "deep"],
  ]);
});

Deno.test("cleanPath() never leaves the root", () => {
  assert.deepEqual(["/../../x", "//a//./b/", "/", "/a/../.."].map(cleanPath), ["/x", "/a/b", "/", "/"]);
});

Deno.test("defaultMounts() gives a privileged container writable sysfs and cgroups, others read-only ones", () => {
  for (const [privileged, access] of [[true, "rw"], [false, "ro"]] as const) {
    for (const readonlySysfs of ["mount", "path"] as const) {
      const mounts = defaultMounts({ privileged, readonlySysfs, shmPath: "/shm", hostIpc: false });
      const optionsOf = (path: string) => mounts.find((mount) => mount.destination === path)?.options ?? [];
      assert.ok(optionsOf("/sys/fs/cgroup").includes(access));
      // Exactly one of the two: a superblock or cgroups would be left in the wrong state by both, or by none.
      const byMount = optionsOf("/sys").includes("ro");
      const byPath = readonlySysfsPaths({ privileged, readonlySysfs }).includes("/sys");
      assert.deepEqual([byMount, byPath], [
        !privileged && readonlySysfs === "mount",
        !privileged && readonlySysfs === "path",
      ]);
    }
  }
});

Deno.test("uncovered() mounts nothing below a /dev of the request's own", () => {
  const defaults = defaultMounts({ privileged: true, readonlySysfs: "path", shmPath: "/shm", hostIpc: false });
  const at = (destination: string) => ({ destination, type: "bind", source: "/dev", options: [] });
  assert.deepEqual(uncovered(defaults, [at("/device")]), defaults);
  assert.ok(!uncovered(defaults, [at("/dev")]).some(({ destination }) => destination.startsWith("/dev/")));
});

Deno.test("bindOptions() maps propagation and access", () => {
  assert.deepEqual(bindOptions({ readonly: true, propagation: "private", recursiveReadOnly: false }), [
    "rbind",
    "rprivate",
    "ro",
  ]);
  assert.deepEqual(bindOptions({ readonly: false, propagation: "bidirectional", recursiveReadOnly: false }), [
    "rbind",
    "rshared",
    "rw",
  ]);
});

Deno.test("ociResources() leaves zeros out and keeps what was set", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0 };
  assert.deepEqual(ociResources({ cpuShares: 0, memoryLimitBytes: 0, cpusetCpus: "" }, context), { devices: [] });
  const limits = {
    cpuShares: 512,
    cpuQuotaMicros: 1,
    cpuPeriodMicros: 2,
    cpusetCpus: "0",
    memoryLimitBytes: 9,
    memorySwapLimitBytes: 9,
  };
  assert.deepEqual(ociResources({ ...limits, unified: { "memory.high": "7" } }, { ...context, pidsLimit: 5 }), {
    devices: [],
    cpu: { shares: 512, quota: 1, period: 2, cpus: "0" },
    memory: { limit: 9, swap: 9 },
    pids: { limit: 5 },
    unified: { "memory.high": "7" },
  });
});

Deno.test("ociResources() drops huge page limits of 0 where there is no controller and refuses others", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0, hasHugetlb: false };
  assert.deepEqual(ociResources({ hugepageLimits: [{ pageSize: "2MB", limitBytes: 0 }] }, context), { devices: [] });
  assert.throws(
    () => ociResources({ hugepageLimits: [{ pageSize: "2MB", limitBytes: 1 }] }, context),
    (error) => error instanceof InvalidArgumentError && /2MB/.test(error.message),
  );
});

Deno.test("ociResources() refuses a swap limit below the memory limit", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0 };
  assert.throws(() => ociResources({ memoryLimitBytes: 10, memorySwapLimitBytes: 5 }, context), InvalidArgumentError);
  assert.equal(ociResources({ memoryLimitBytes: 10, memorySwapLimitBytes: -1 }, context).memory?.swap, -1);
});

Deno.test("ociResources() refuses a memory limit with which nothing starts, and says what to raise", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0, minMemoryBytes: 500 };
  assert.throws(
    () => ociResources({ memoryLimitBytes: 499 }, context),
    (error) => error instanceof InvalidArgumentError && /499 bytes .* 500 .*container_min_memory/.test(error.message),
  );
  assert.equal(ociResources({ memoryLimitBytes: 500 }, context).memory?.limit, 500);
});

Deno.test("ociResources() leaves a swap limit out where nothing counts swap, or without a memory limit", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0 };
  const limits = { memoryLimitBytes: 10, memorySwapLimitBytes: 20 };
  assert.deepEqual(ociResources(limits, { ...context, hasSwap: false }).memory, { limit: 10 });
  assert.equal(ociResources({ memorySwapLimitBytes: 20 }, context).memory, undefined);
});

Deno.test("ociLimits() refuses a CPU set where there is no controller for it", () => {
  for (const limits of [{ cpusetCpus: "0" }, { cpusetMems: "0" }]) {
    assert.throws(() => ociLimits(limits, { ...LIMITS, hasCpuset: false }), InvalidArgumentError);
  }
  assert.deepEqual(ociLimits({ cpusetCpus: "" }, { ...LIMITS, hasCpuset: false }), {});
});

Deno.test("ociLimits() takes a quota away where runtimes can; a new container has none", () => {
  const limits = { cpuQuotaMicros: -1, cpuPeriodMicros: 5000 };
  assert.deepEqual(ociLimits(limits, LIMITS), { cpu: { quota: -1, period: 5000 } });
  assert.deepEqual(ociLimits(limits, { ...LIMITS, unsetsQuota: false }), { cpu: { period: 5000 } });
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0 };
  assert.deepEqual(ociResources(limits, context), { devices: [], cpu: { period: 5000 } });
});

Deno.test("ociResources() refuses files of cgroup v2 on cgroup v1", () => {
  const context = { ...LIMITS, deviceRules: [], pidsLimit: 0, hasUnified: false };
  assert.throws(
    () => ociResources({ unified: { "memory.high": "7" } }, context),
    (error) => error instanceof InvalidArgumentError && /memory\.high.*cgroup v1/.test(error.message),
  );
  assert.deepEqual(ociResources({ unified: {} }, context), { devices: [] });
});

Deno.test("deviceRules() allows everything to a privileged container and only the granted to others", () => {
  assert.deepEqual(deviceRules([], { allDevices: true }), [{ allow: true, access: "rwm" }]);
  const rules = deviceRules([{ device: { path: "/dev/x", type: "c", major: 10, minor: 229 }, permissions: "rw" }], {
    allDevices: false,
  });
  assert.deepEqual(rules[0], { allow: false, access: "rwm" });
  assert.deepEqual(rules.at(-1), { allow: true, type: "c", major: 10, minor: 229, access: "rw" });
});
