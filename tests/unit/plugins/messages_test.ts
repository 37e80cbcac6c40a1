import assert from "node:assert/strict";
import {
  Container,
  ContainerState,
  IOPrioClass,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  PodSandbox,
  SecurityProfile_ProfileType as ProfileType,
} from "../../../src/nri/gen/nri.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import { containerMessage, podMessage } from "../../../src/plugins/messages.ts";
import { limitsMessage, limitsOf } from "../../../src/plugins/resources_message.ts";
import { containerRecord, containerSpec, sandboxRecord, sandboxSpec } from "../../fakes/records.ts";

const SPEC: OciSpec = {
  ociVersion: "1.0.0",
  process: {
    terminal: false,
    user: { uid: 1, gid: 2 },
    args: ["a", "b"],
    env: ["A=1"],
    cwd: "/",
    rlimits: [{ type: "RLIMIT_CORE", soft: 1, hard: 2 }],
    oomScoreAdj: -3,
    ioPriority: { class: "IOPRIO_CLASS_BE", priority: 4 },
    scheduler: { policy: "SCHED_BATCH", nice: 5, flags: ["SCHED_FLAG_RESET_ON_FORK"] },
  },
  root: { path: "/r" },
  mounts: [{ destination: "/m", type: "bind", source: "/s", options: ["ro"] }],
  hooks: { prestart: [{ path: "/h", args: ["h"], env: ["E=1"], timeout: 6 }] },
  annotations: { own: "1" },
  linux: {
    namespaces: [{ type: "network", path: "/n" }, { type: "mount" }],
    devices: [{ path: "/dev/x", type: "c", major: 7, minor: 8, fileMode: 0o600, uid: 9, gid: 10 }],
    resources: {
      cpu: { shares: 11, quota: 12, period: 13, cpus: "0", mems: "1", realtimeRuntime: 14, realtimePeriod: 15 },
      memory: { limit: 16, swap: 17, reservation: 18, swappiness: 19, disableOOMKiller: true },
      pids: { limit: 20 },
      hugepageLimits: [{ pageSize: "2MB", limit: 21 }],
      unified: { "memory.high": "22" },
      devices: [{ allow: true, type: "c", major: 7, access: "rw" }],
    },
    sysctl: { "net.x": "1" },
    seccomp: { defaultAction: "SCMP_ACT_ERRNO", syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW" }] },
    netDevices: { eth0: { name: "n0" } },
    intelRdt: { closID: "c", schemata: ["L3:0=f"] },
  },
};

Deno.test("podMessage() tells everything that plugins can see of a pod", () => {
  const record = sandboxRecord({
    spec: sandboxSpec({
      labels: { l: "1" },
      annotations: { a: "2" },
      resources: { cpuShares: 5 },
      runtimeHandler: "h",
    }),
    namespaces: { network: "/ns/net" },
    ips: ["10.0.0.1"],
    infra: { pid: 77, startTime: "1" },
    cgroupParent: "/pods",
  });
  const pod = PodSandbox.decode(PodSandbox.encode(podMessage(record)).finish());
  assert.deepEqual([pod.id, pod.name, pod.namespace, pod.uid], [record.id, "pod", "ns", "uid"]);
  assert.deepEqual([[...pod.labels], [...pod.annotations], pod.ips], [[["l", "1"]], [["a", "2"]], ["10.0.0.1"]]);
  assert.deepEqual([pod.pid, pod.runtimeHandler, pod.linux?.cgroupParent], [77, "h", "/pods"]);
  assert.deepEqual(pod.linux?.namespaces, [{ type: "network", path: "/ns/net" }]);
  assert.equal(pod.linux?.podResources?.cpu?.shares?.value, 5n);
});

Deno.test("containerMessage() tells everything that plugins can see of a container", () => {
  const record = containerRecord({
    spec: containerSpec({ labels: { l: "1" }, annotations: { a: "2" }, cdiDevices: ["v/c=d"] }),
    user: { uid: 1, gid: 2, supplementalGroups: [3] },
  });
  const container = Container.decode(Container.encode(containerMessage(record, SPEC)).finish());
  assert.deepEqual([container.id, container.podSandboxId, container.name], [record.id, record.sandboxId, "main"]);
  assert.equal(container.state, ContainerState.CONTAINER_RUNNING);
  assert.deepEqual([...container.annotations], [["own", "1"], ["a", "2"]]);
  assert.deepEqual([...container.labels], [["l", "1"]]);
  assert.deepEqual([container.args, container.env, container.pid], [["a", "b"], ["A=1"], 999_999]);
  assert.deepEqual(container.mounts, [{ destination: "/m", type: "bind", source: "/s", options: ["ro"] }]);
  assert.deepEqual(container.hooks?.prestart, [{ path: "/h", args: ["h"], env: ["E=1"], timeout: { value: 6n } }]);
  assert.deepEqual(container.rlimits, [{ type: "RLIMIT_CORE", soft: 1n, hard: 2n }]);
  assert.deepEqual(container.user, { uid: 1, gid: 2, additionalGids: [3] });
  assert.deepEqual(container.CDIDevices, [{ name: "v/c=d" }]);
  const { linux } = container;
  assert.deepEqual(linux?.namespaces, [{ type: "network", path: "/n" }, { type: "mount", path: "" }]);
  assert.deepEqual(linux?.devices.map(({ path, major, fileMode }) => [path, major, fileMode?.value]), [
    ["/dev/x", 7n, 0o600],
  ]);
  assert.equal(linux?.oomScoreAdj?.value, -3n);
  assert.deepEqual(linux?.ioPriority, { class: IOPrioClass.IOPRIO_CLASS_BE, priority: 4 });
  assert.equal(linux?.scheduler?.policy, LinuxSchedulerPolicy.SCHED_BATCH);
  assert.deepEqual(linux?.scheduler?.flags, [LinuxSchedulerFlag.SCHED_FLAG_RESET_ON_FORK]);
  assert.deepEqual([...linux?.sysctl ?? []], [["net.x", "1"]]);
  assert.deepEqual([...linux?.netDevices ?? []], [["eth0", { name: "n0" }]]);
  assert.equal(linux?.seccompPolicy?.syscalls[0]?.names[0], "read");
  assert.equal(linux?.seccompProfile?.profileType, ProfileType.UNCONFINED);
  assert.deepEqual([linux?.rdt?.closId?.value, linux?.rdt?.schemata?.value], ["c", ["L3:0=f"]]);
  const { resources } = linux ?? {};
  assert.deepEqual([resources?.cpu?.shares?.value, resources?.cpu?.cpus, resources?.cpu?.mems], [11n, "0", "1"]);
  assert.deepEqual([resources?.memory?.limit?.value, resources?.memory?.disableOomKiller?.value], [16n, true]);
  assert.deepEqual([resources?.pids?.limit, resources?.hugepageLimits[0]?.limit], [20n, 21n]);
  assert.deepEqual(resources?.devices[0], {
    allow: true,
    type: "c",
    major: { value: 7n },
    minor: undefined,
    access: "rw",
  });
});

Deno.test("containerMessage() tells what the record says when the specification is gone", () => {
  const container = containerMessage(containerRecord({ state: "exited", exitCode: 3 }), undefined);
  assert.deepEqual([container.state, container.exitCode, container.args], [ContainerState.CONTAINER_STOPPED, 3, []]);
});

Deno.test("limitsOf() is the reverse of limitsMessage()", () => {
  const limits = {
    cpuPeriodMicros: 1,
    cpuQuotaMicros: -1,
    cpuShares: 3,
    cpusetCpus: "0-1",
    cpusetMems: "0",
    memoryLimitBytes: 4,
    memorySwapLimitBytes: 5,
    hugepageLimits: [{ pageSize: "2MB", limitBytes: 6 }],
    unified: { "memory.high": "7" },
  };
  assert.deepEqual(limitsOf(limitsMessage(limits)), limits);
  assert.deepEqual(limitsOf(limitsMessage({ cpuShares: 0 })), {});
});
