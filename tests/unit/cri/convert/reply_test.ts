import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import type { ResourceLimits } from "../../../../src/base/resources.ts";
import { container, containerInfo, containerStatus } from "../../../../src/cri/convert/container_reply.ts";
import { namespaceModes, namespaceOption } from "../../../../src/cri/convert/namespaces.ts";
import { linuxResources, resourceLimits } from "../../../../src/cri/convert/resources.ts";
import { podSandbox, podSandboxInfo, podSandboxStatus } from "../../../../src/cri/convert/sandbox_reply.ts";
import { signalName, signalValue } from "../../../../src/cri/convert/signal.ts";
import {
  Container,
  ContainerState,
  ContainerStatus,
  PodSandbox,
  PodSandboxState,
  PodSandboxStatus,
  Signal,
} from "../../../../src/cri/gen/api.ts";
import type { ContainerRecord, ReportedMount } from "../../../../src/container/types.ts";
import { newSandboxId } from "../../../../src/base/ids.ts";
import { someContainer, somePod } from "../../../fakes/cri_operations.ts";

const sandboxId = newSandboxId();

Deno.test("container() and podSandbox() survive the codec", () => {
  const record = someContainer({ sandboxId }, { labels: new Map([["a", "b"]]), annotations: new Map([["c", "d"]]) });
  deepEqual(Container.decode(Container.encode(container(record)).finish()), container(record));
  equal(container(record).image?.image, "docker.io/library/busybox:latest");
  equal(container({ ...record, imageName: "" }).image?.image, "busybox");
  const pod = somePod();
  deepEqual(PodSandbox.decode(PodSandbox.encode(podSandbox(pod)).finish()), podSandbox(pod));
  equal(podSandbox(pod).createdAt, 1700000000000000001n);
  const status = podSandboxStatus(pod);
  deepEqual(PodSandboxStatus.decode(PodSandboxStatus.encode(status).finish()), status);
});

Deno.test("containerStatus() gives state, reason and exit code", () => {
  const table: Array<[Partial<ContainerRecord>, ContainerState, string, number]> = [
    [{ state: "created" }, ContainerState.CONTAINER_CREATED, "", 0],
    [{ state: "running" }, ContainerState.CONTAINER_RUNNING, "", 0],
    [{ state: "paused" }, ContainerState.CONTAINER_RUNNING, "", 0],
    [{ state: "exited", exitCode: 0 }, ContainerState.CONTAINER_EXITED, "Completed", 0],
    [{ state: "exited", exitCode: 3 }, ContainerState.CONTAINER_EXITED, "Error", 3],
    [{ state: "exited", exitCode: -1 }, ContainerState.CONTAINER_EXITED, "Error", -1],
    [{ state: "exited", exitCode: 137, oomKilled: true }, ContainerState.CONTAINER_EXITED, "OOMKilled", 137],
    [{ state: "exited", exitCode: 159, seccompKilled: true }, ContainerState.CONTAINER_EXITED, "seccomp killed", 159],
  ];
  for (const [changes, state, reason, exitCode] of table) {
    const status = containerStatus(someContainer({ sandboxId, ...changes }));
    deepEqual([status.state, status.reason, status.exitCode], [state, reason, exitCode]);
    deepEqual(ContainerStatus.decode(ContainerStatus.encode(status).finish()), status);
  }
});

Deno.test("containerStatus() reports mounts, user, resources and the stop signal", () => {
  const mounts: ReportedMount[] = [{
    containerPath: "/model",
    hostPath: "",
    readonly: true,
    selinuxRelabel: false,
    propagation: "bidirectional",
    recursiveReadOnly: false,
    uidMaps: [{ hostId: 1, containerId: 2, length: 3 }],
    gidMaps: [],
    image: { reference: "model:1", subPath: "sub" },
    imageId: "e".repeat(64),
  }];
  const status = containerStatus(someContainer({
    sandboxId,
    mounts,
    user: { uid: 1, gid: 2, supplementalGroups: [3, 4_000_000_000] },
    resources: { memoryLimitBytes: 7 },
    stopSignal: "SIGRTMIN+1",
  }));
  const [mount] = status.mounts;
  deepEqual([mount?.propagation, mount?.image?.image, mount?.image?.userSpecifiedImage, mount?.imageSubPath], [
    2,
    "e".repeat(64),
    "model:1",
    "sub",
  ]);
  deepEqual(mount?.uidMappings, [{ hostId: 1, containerId: 2, length: 3 }]);
  deepEqual(status.user, { linux: { uid: 1n, gid: 2n, supplementalGroups: [3n, 4_000_000_000n] } });
  equal(status.resources?.linux?.memoryLimitInBytes, 7n);
  equal(status.stopSignal, Signal.SIGRTMINPLUS1);
});

Deno.test("podSandboxStatus() tells ready from not ready and has no address without a network", () => {
  const status = podSandboxStatus(somePod({ state: "not_ready", ips: [] }));
  equal(status.state, PodSandboxState.SANDBOX_NOTREADY);
  deepEqual(status.network, { ip: "", additionalIps: [] });
});

Deno.test("verbose infos are JSON", () => {
  const pod = somePod({ infra: { pid: 5, startTime: "1" }, namespaces: { network: "/n", pid: "/p" } });
  const info = JSON.parse(podSandboxInfo(pod).get("info") ?? "");
  deepEqual([info.pid, info.image, info.runtimeSpec.linux.namespaces], [5, "", [
    { type: "network", path: "/n" },
    { type: "pid", path: "/p" },
  ]]);
  const record = someContainer({ sandboxId });
  deepEqual(JSON.parse(containerInfo(record, { a: 1 }).get("info") ?? ""), {
    sandboxID: sandboxId,
    pid: 0,
    runtimeSpec: { a: 1 },
    privileged: false,
  });
  JSON.parse(containerInfo(record, undefined).get("info") ?? "");
});

Deno.test("signalName() and signalValue() are each other's inverse, but for aliases", () => {
  const aliases: Readonly<Record<string, string>> = { SIGCLD: "SIGCHLD", SIGIOT: "SIGABRT", SIGPOLL: "SIGIO" };
  for (const [key, value] of Object.entries(Signal)) {
    const name = signalName(value, "x");
    if (key === "RUNTIME_DEFAULT") {
      equal(name, undefined);
      continue;
    }
    equal(name, aliases[key] ?? key.replace("PLUS", "+").replace("MINUS", "-"));
    if (!(key in aliases)) equal(signalValue(name ?? ""), value, key);
  }
  equal(signalValue("term"), Signal.SIGTERM);
  equal(signalValue("SIGCLD"), Signal.SIGCHLD);
  equal(signalValue("37"), Signal.RUNTIME_DEFAULT);
  equal(signalValue(""), Signal.RUNTIME_DEFAULT);
});

Deno.test("resourceLimits() undoes linuxResources()", () => {
  const limits = fc.record({
    oomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
    cpuPeriodMicros: fc.integer({ min: 1000, max: 1_000_000 }),
    cpuQuotaMicros: fc.oneof(fc.constant(-1), fc.integer({ min: 1000 })),
    cpuShares: fc.integer({ min: 1 }),
    cpusetCpus: fc.constantFrom("0", "0-3", "1,5-7"),
    memoryLimitBytes: fc.maxSafeNat().filter((bytes) => bytes > 0),
    hugepageLimits: fc.array(fc.record({ pageSize: fc.constantFrom("2MB", "1GB"), limitBytes: fc.maxSafeNat() }), {
      minLength: 1,
    }),
    unified: fc.dictionary(fc.constantFrom("memory.high", "io.max"), fc.constantFrom("1", "max"), { minKeys: 1 }),
  }, { requiredKeys: ["oomScoreAdj"], noNullPrototype: true });
  fc.assert(fc.property(limits, (given) => {
    deepEqual(resourceLimits(linuxResources(given as ResourceLimits), "x"), withPlainUnified(given as ResourceLimits));
  }));
});

/** fast-check's dictionaries have no prototype, which deepEqual minds. */
function withPlainUnified(limits: ResourceLimits): ResourceLimits {
  return limits.unified === undefined ? limits : { ...limits, unified: { ...limits.unified } };
}

Deno.test("namespaceModes() undoes namespaceOption()", () => {
  const maps = [{ hostId: 65536, containerId: 0, length: 65536 }];
  for (
    const modes of [
      { network: "pod", ipc: "node", pid: { kind: "pod" } },
      { network: "node", ipc: "pod", pid: { kind: "node" } },
      { network: "pod", ipc: "pod", pid: { kind: "container" }, user: { uidMaps: maps, gidMaps: maps } },
      { network: "pod", ipc: "pod", pid: { kind: "target", containerId: "x" } },
    ] as const
  ) deepEqual(namespaceModes(namespaceOption(modes), "x", { allowTarget: true }), modes);
});
