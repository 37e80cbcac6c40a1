import { type ContainerId, newContainerId, newSandboxId, type SandboxId } from "../../src/base/ids.ts";
import type { ContainerRecord, ContainerSpec } from "../../src/container/types.ts";
import type { SandboxRecord, SandboxSpec } from "../../src/sandbox/types.ts";

/** A plain container request. */
export function containerSpec(changes: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    metadata: { name: "main", attempt: 0 },
    image: { image: "busybox", userSpecifiedImage: "", runtimeHandler: "", annotations: {} },
    command: ["/bin/sh"],
    args: [],
    workingDir: "",
    env: [],
    mounts: [],
    devices: [],
    cdiDevices: [],
    labels: {},
    annotations: {},
    logPath: "main/0.log",
    stdin: false,
    stdinOnce: false,
    tty: false,
    resources: {},
    security: {
      privileged: false,
      capabilities: { add: [], drop: [], addAmbient: [] },
      namespaces: { network: "pod", ipc: "pod", pid: { kind: "container" } },
      supplementalGroups: [],
      supplementalGroupsPolicy: "merge",
      readonlyRootfs: false,
      noNewPrivs: false,
      maskedPaths: [],
      readonlyPaths: [],
    },
    ...changes,
  };
}

/** A record of a container that looks as if it ran. */
export function containerRecord(changes: Partial<ContainerRecord> = {}): ContainerRecord {
  const id: ContainerId = changes.id ?? newContainerId();
  return {
    version: 1,
    id,
    sandboxId: newSandboxId(),
    name: `k8s_main_pod_ns_uid_${id.slice(0, 8)}`,
    spec: containerSpec(),
    state: "running",
    runtimeHandler: "crun",
    imageId: "a".repeat(64),
    imageRef: "a".repeat(64),
    imageName: "docker.io/library/busybox:latest",
    createdAtNanos: "1",
    startedAtNanos: "2",
    finishedAtNanos: "0",
    exitCode: 0,
    oomKilled: false,
    seccompKilled: false,
    message: "",
    process: { pid: 999_999, startTime: "1" },
    monitor: { pid: 999_998, startTime: "1" },
    directory: "/nonexistent/directory",
    runDirectory: "/nonexistent/run",
    rootfs: "/nonexistent/rootfs",
    cgroupPath: "/test/crio-x",
    cgroupParent: "/test",
    logFile: "",
    stopSignal: "SIGTERM",
    mounts: [],
    resources: {},
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    ...changes,
  };
}

/** A plain pod request. */
export function sandboxSpec(changes: Partial<SandboxSpec> = {}): SandboxSpec {
  return {
    metadata: { name: "pod", namespace: "ns", uid: "uid", attempt: 0 },
    hostname: "",
    logDirectory: "",
    portMappings: [],
    labels: {},
    annotations: {},
    runtimeHandler: "",
    cgroupParent: "",
    sysctls: {},
    overhead: {},
    resources: {},
    security: {
      namespaces: { network: "pod", ipc: "pod", pid: { kind: "container" } },
      privileged: false,
      readonlyRootfs: false,
      supplementalGroups: [],
    },
    ...changes,
  };
}

/** A record of a pod that looks ready. */
export function sandboxRecord(changes: Partial<SandboxRecord> = {}): SandboxRecord {
  const id: SandboxId = changes.id ?? newSandboxId();
  return {
    version: 1,
    id,
    name: `k8s_pod_ns_uid_${id.slice(0, 8)}`,
    spec: sandboxSpec(),
    state: "ready",
    runtimeHandler: "crun",
    createdAtNanos: "1",
    namespaces: {},
    ips: [],
    networkAttached: false,
    runDirectory: "/nonexistent",
    resolvConf: "/nonexistent/resolv.conf",
    hostnameFile: "/nonexistent/hostname",
    hostsFile: "/nonexistent/hosts",
    shmPath: "/nonexistent/shm",
    hostname: "pod",
    cgroupParent: "/test",
    ...changes,
  };
}
