import assert from "node:assert/strict";
import {
  ContainerAdjustment,
  Hook,
  Hooks,
  IOPrioClass,
  LinuxContainerAdjustment,
  LinuxCPU,
  LinuxDevice,
  LinuxMemory,
  LinuxMemoryPolicy,
  LinuxRdt,
  LinuxResources,
  LinuxScheduler,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  LinuxSeccomp,
  MpolFlag,
  MpolMode,
} from "../../../src/nri/gen/nri.ts";
import { message } from "../../../src/nri/message.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import { type AdjustmentContext, adjustSpec } from "../../../src/plugins/adjust_spec.ts";

const SPEC: OciSpec = {
  ociVersion: "1.3.0",
  process: {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args: ["sh"],
    env: ["A=1", "B=2"],
    cwd: "/",
    rlimits: [{ type: "RLIMIT_CORE", soft: 1, hard: 1 }],
    oomScoreAdj: 5,
  },
  root: { path: "/r" },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: [] },
    { destination: "/data", type: "bind", source: "/old", options: ["rbind"] },
  ],
  hooks: { prestart: [{ path: "/first" }] },
  annotations: { own: "1", other: "2" },
  linux: {
    namespaces: [{ type: "mount" }, { type: "network", path: "/n" }],
    devices: [{ path: "/dev/a", type: "c", major: 1, minor: 1 }],
    cgroupsPath: "/pods/c",
    resources: {
      devices: [{ allow: false, access: "rwm" }],
      cpu: { shares: 10 },
      memory: { limit: 1000, swap: 1000 },
      pids: { limit: 7 },
    },
    sysctl: { "net.a": "1" },
    intelRdt: { closID: "old", schemata: ["L3:0=1"] },
  },
};

const LIMITS = {
  hasHugetlb: true,
  hasCpuset: true,
  hasSwap: true,
  hasUnified: true,
  unsetsQuota: true,
  minMemoryBytes: 100,
};

const CONTEXT: AdjustmentContext = {
  now: { memoryLimitBytes: 1000, memorySwapLimitBytes: 1000, cpuShares: 10 },
  limits: LIMITS,
  minOomScoreAdj: -10,
  allowed: (annotations) => annotations,
  withCdiDevices: (spec, names) =>
    Promise.resolve({ ...spec, process: { ...spec.process, env: [...spec.process.env, `CDI=${names}`] } }),
};

async function adjusted(
  fields: Partial<ContainerAdjustment>,
  { spec = SPEC, context = CONTEXT }: { spec?: OciSpec; context?: AdjustmentContext } = {},
): Promise<OciSpec> {
  return (await adjustSpec(spec, message(ContainerAdjustment, fields), context)).spec;
}

function linux(fields: Partial<LinuxContainerAdjustment>): Partial<ContainerAdjustment> {
  return { linux: message(LinuxContainerAdjustment, fields) };
}

Deno.test("adjustSpec() changes nothing when nothing is wanted", async () => {
  const { spec, changed } = await adjustSpec(SPEC, message(ContainerAdjustment), CONTEXT);
  assert.deepEqual([spec, changed], [SPEC, {}]);
});

Deno.test("adjustSpec() sets, replaces and takes away variables, annotations and mounts", async () => {
  const spec = await adjusted({
    env: [{ key: "A", value: "x=y" }, { key: "-B", value: "" }, { key: "C", value: "3" }],
    annotations: new Map([["own", "changed"], ["-other", ""], ["new", "3"]]),
    mounts: [
      { destination: "-/data", type: "", source: "", options: [] },
      { destination: "/a/b", type: "bind", source: "/s", options: ["rbind", "relabel"] },
      { destination: "/a", type: "tmpfs", source: "tmpfs", options: ["rw"] },
    ],
  });
  assert.deepEqual(spec.process.env, ["A=x=y", "C=3"]);
  assert.deepEqual(spec.annotations, { own: "changed", new: "3" });
  assert.deepEqual(spec.mounts.map(({ destination }) => destination), ["/proc", "/a", "/a/b"]);
  assert.deepEqual(spec.mounts[2]?.options, ["rbind"]);
});

Deno.test("adjustSpec() replaces arguments and limits of the process, and adds hooks", async () => {
  const hook = message(Hook, { path: "/second", args: ["a"], timeout: { value: 5n } });
  const spec = await adjusted({
    args: ["x", "y"],
    rlimits: [{ type: "RLIMIT_CORE", soft: 2n, hard: 3n }, { type: "RLIMIT_NOFILE", soft: 4n, hard: 5n }],
    hooks: message(Hooks, { prestart: [hook], poststop: [hook] }),
    ...linux({ oomScoreAdj: { value: -1000n } }),
  });
  assert.deepEqual(spec.process.args, ["x", "y"]);
  assert.deepEqual(spec.process.rlimits, [
    { type: "RLIMIT_CORE", soft: 2, hard: 3 },
    { type: "RLIMIT_NOFILE", soft: 4, hard: 5 },
  ]);
  assert.deepEqual(spec.hooks, {
    prestart: [{ path: "/first" }, { path: "/second", args: ["a"], timeout: 5 }],
    poststop: [{ path: "/second", args: ["a"], timeout: 5 }],
  });
  assert.equal(spec.process.oomScoreAdj, -10);
});

Deno.test("adjustSpec() gives a device with the right to use it, and takes one away", async () => {
  const device = message(LinuxDevice, { path: "/dev/b", type: "b", major: 8n, minor: 1n, fileMode: { value: 0o600 } });
  const spec = await adjusted(linux({ devices: [message(LinuxDevice, { path: "-/dev/a" }), device] }));
  assert.deepEqual(spec.linux.devices, [{ path: "/dev/b", type: "b", major: 8, minor: 1, fileMode: 0o600 }]);
  assert.deepEqual(spec.linux.resources?.devices, [
    { allow: false, access: "rwm" },
    { allow: true, type: "b", major: 8, minor: 1, access: "rwm" },
  ]);
});

Deno.test("adjustSpec() changes namespaces, sysctls, devices of the network and the cgroup", async () => {
  const spec = await adjusted(linux({
    namespaces: [{ type: "-network", path: "" }, { type: "ipc", path: "/i" }, { type: "pid", path: "" }],
    sysctl: new Map([["-net.a", ""], ["net.b", "2"]]),
    netDevices: new Map([["eth1", { name: "data" }]]),
    cgroupsPath: "/pods/other",
  }));
  assert.deepEqual(spec.linux.namespaces, [{ type: "mount" }, { type: "ipc", path: "/i" }, { type: "pid" }]);
  assert.deepEqual(spec.linux.sysctl, { "net.b": "2" });
  assert.deepEqual(spec.linux.netDevices, { eth1: { name: "data" } });
  assert.equal(spec.linux.cgroupsPath, "/pods/other");
  await assert.rejects(adjusted(linux({ namespaces: [{ type: "moon", path: "" }] })), /type "moon"/);
});

Deno.test("adjustSpec() changes resources, and tells those that a status shows", async () => {
  const resources = message(LinuxResources, {
    cpu: message(LinuxCPU, { quota: { value: 5000n }, cpus: "0-1", realtimePeriod: { value: 9n } }),
    memory: message(LinuxMemory, { limit: { value: 2000n }, reservation: { value: 50n }, swappiness: { value: 0n } }),
    pids: { limit: 9n },
    unified: new Map([["memory.high", "5"]]),
    hugepageLimits: [{ pageSize: "2MB", limit: 3n }],
    devices: [{ allow: true, type: "c", major: { value: 1n }, minor: undefined, access: "r" }],
  });
  const { spec, changed } = await adjustSpec(SPEC, message(ContainerAdjustment, linux({ resources })), CONTEXT);
  assert.deepEqual(spec.linux.resources, {
    devices: [{ allow: false, access: "rwm" }, { allow: true, type: "c", major: 1, access: "r" }],
    cpu: { shares: 10, quota: 5000, cpus: "0-1", realtimePeriod: 9 },
    memory: { limit: 2000, swap: 2000, reservation: 50, swappiness: 0 },
    pids: { limit: 9 },
    unified: { "memory.high": "5" },
    hugepageLimits: [{ pageSize: "2MB", limit: 3 }],
  });
  assert.deepEqual(changed, {
    cpuQuotaMicros: 5000,
    cpusetCpus: "0-1",
    memoryLimitBytes: 2000,
    memorySwapLimitBytes: 2000,
    hugepageLimits: [{ pageSize: "2MB", limitBytes: 3 }],
    unified: { "memory.high": "5" },
  });
});

Deno.test("adjustSpec() refuses limits that this node cannot keep, as those of requests", async () => {
  const memory = (value: bigint): Partial<ContainerAdjustment> =>
    linux({ resources: message(LinuxResources, { memory: message(LinuxMemory, { limit: { value } }) }) });
  await assert.rejects(adjusted(memory(99n)), /too low/);
  const unified = linux({ resources: message(LinuxResources, { unified: new Map([["memory.high", "5"]]) }) });
  const context = { ...CONTEXT, limits: { ...LIMITS, hasUnified: false, hasSwap: false } };
  await assert.rejects(adjusted(unified, { context }), /cgroup v2/);
  assert.deepEqual((await adjusted(memory(200n), { context })).linux.resources?.memory, { limit: 200, swap: 1000 });
  const classes = linux({ resources: message(LinuxResources, { blockioClass: { value: "slow" } }) });
  await assert.rejects(adjusted(classes), /block I\/O "slow"/);
});

Deno.test("adjustSpec() sets scheduling and memory policy where the runtime knows them, and refuses them elsewhere", async () => {
  const wanted = linux({
    ioPriority: { class: IOPrioClass.IOPRIO_CLASS_BE, priority: 3 },
    scheduler: message(LinuxScheduler, {
      policy: LinuxSchedulerPolicy.SCHED_DEADLINE,
      flags: [LinuxSchedulerFlag.SCHED_FLAG_RECLAIM],
      runtime: 18_446_744_073_709_551_615n,
    }),
    memoryPolicy: message(LinuxMemoryPolicy, {
      mode: MpolMode.MPOL_BIND,
      nodes: "0",
      flags: [MpolFlag.MPOL_F_STATIC_NODES],
    }),
  });
  const spec = await adjusted(wanted);
  assert.equal(
    JSON.stringify(spec.process.scheduler),
    '{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RECLAIM"],"runtime":18446744073709551615}',
  );
  assert.deepEqual(spec.process.ioPriority, { class: "IOPRIO_CLASS_BE", priority: 3 });
  assert.deepEqual(spec.linux.memoryPolicy, { mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] });
  await assert.rejects(adjusted(wanted, { spec: { ...SPEC, ociVersion: "1.0.2" } }), /ioPriority.*up to 1\.0\.2/);
  await assert.rejects(adjusted(wanted, { spec: { ...SPEC, ociVersion: "1.2.0" } }), /memoryPolicy/);
  const none = linux({ ioPriority: { class: IOPrioClass.IOPRIO_CLASS_NONE, priority: 0 } });
  assert.equal((await adjusted(none, { spec })).process.ioPriority, undefined);
});

Deno.test("adjustSpec() passes a seccomp policy on with all its numbers", async () => {
  const policy = message(LinuxSeccomp, {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86_64"],
    syscalls: [{
      names: ["mkdir"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: { value: 5 },
      args: [{ index: 0, value: 18_446_744_073_709_551_615n, valueTwo: 0n, op: "SCMP_CMP_EQ" }],
    }],
  });
  assert.equal(
    JSON.stringify((await adjusted(linux({ seccompPolicy: policy }))).linux.seccomp),
    '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["mkdir"],' +
      '"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}',
  );
});

Deno.test("adjustSpec() sets, changes and removes classes of cache and bandwidth", async () => {
  const rdt = (fields: Partial<LinuxRdt>): Partial<ContainerAdjustment> => linux({ rdt: message(LinuxRdt, fields) });
  assert.deepEqual((await adjusted(rdt({ closId: { value: "new" } }))).linux.intelRdt, {
    closID: "new",
    schemata: ["L3:0=1"],
  });
  assert.equal((await adjusted(rdt({ remove: true }))).linux.intelRdt, undefined);
  const named = (value: string): Partial<ContainerAdjustment> =>
    linux({ resources: message(LinuxResources, { rdtClass: { value } }) });
  assert.deepEqual((await adjusted(named("gold"))).linux.intelRdt, { closID: "gold" });
  assert.equal((await adjusted(named(""))).linux.intelRdt, undefined);
});

Deno.test("adjustSpec() has CDI devices put in, and sets only annotations that are allowed", async () => {
  const context = { ...CONTEXT, allowed: ({ allowed = "" }): Record<string, string> => ({ allowed }) };
  const spec = await adjusted({
    CDIDevices: [{ name: "v.com/c=a" }, { name: "v.com/c=b" }],
    annotations: new Map([["allowed", "1"], ["gated", "2"]]),
  }, { context });
  assert.deepEqual(spec.process.env, ["A=1", "B=2", "CDI=v.com/c=a,v.com/c=b"]);
  assert.deepEqual(spec.annotations, { own: "1", other: "2", allowed: "1" });
});

Deno.test("adjustSpec() refuses mounts that share more than their source does", async () => {
  const mount = { destination: "/m", type: "bind", source: "/proc", options: ["rbind", "rshared"] };
  const isShared = /^[^-]* \/ .* shared:/m.test(await Deno.readTextFile("/proc/self/mountinfo"));
  if (!isShared) await assert.rejects(adjusted({ mounts: [mount] }), /private on this node/);
  await assert.rejects(adjusted({ mounts: [{ ...mount, destination: "m" }] }), /not absolute/);
});
