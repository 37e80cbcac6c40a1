/**
 * Pods, containers and images in memory, for tests of the gRPC side.
 *
 * @module
 */
import { NotFoundError } from "../../src/base/errors.ts";
import { type ContainerId, newContainerId, newSandboxId, type SandboxId } from "../../src/base/ids.ts";
import type { ContainerRecord, ContainerSpec } from "../../src/container/types.ts";
import { containerSpec } from "../../src/cri/convert/container_spec.ts";
import { sandboxSpec } from "../../src/cri/convert/sandbox_spec.ts";
import { ContainerConfig, PodSandboxConfig } from "../../src/cri/gen/api.ts";
import type { CriOperations } from "../../src/cri/handlers.ts";
import type { CallMetrics } from "../../src/cri/unary.ts";
import type { ImageInfo, PullRequest } from "../../src/cri/operations.ts";
import type { SandboxRecord, SandboxSpec } from "../../src/sandbox/types.ts";

/** The smallest pod configuration that is accepted, with changes. */
export function podConfig(changes: Partial<PodSandboxConfig> = {}): PodSandboxConfig {
  return {
    ...PodSandboxConfig.decode(new Uint8Array()),
    metadata: { name: "web", namespace: "default", uid: "u-1", attempt: 0 },
    ...changes,
  };
}

/** The smallest container configuration that is accepted, with changes. */
export function containerConfig(changes: Partial<ContainerConfig> = {}): ContainerConfig {
  return {
    ...ContainerConfig.decode(new Uint8Array()),
    metadata: { name: "main", attempt: 0 },
    image: imageSpec("busybox"),
    ...changes,
  };
}

/** An ImageSpec with nothing but a reference. */
export function imageSpec(image: string): NonNullable<ContainerConfig["image"]> {
  return { image, annotations: new Map(), userSpecifiedImage: "", runtimeHandler: "", imageRef: "" };
}

/** A pod's record around a spec. */
export function sandboxRecord(spec: SandboxSpec, changes: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    version: 1,
    id: newSandboxId(),
    name: "k8s_web_default_u-1_0",
    spec,
    state: "ready",
    runtimeHandler: "crun",
    createdAtNanos: "1700000000000000001",
    namespaces: { network: "/run/netns/x" },
    ips: ["10.1.0.2", "fd00::2"],
    networkAttached: true,
    runDirectory: "/run/x",
    resolvConf: "",
    hostnameFile: "",
    hostsFile: "",
    shmPath: "",
    hostname: "web",
    cgroupParent: "/kubepods/x",
    ...changes,
  };
}

/** A container's record around a spec. */
export function containerRecord(
  spec: ContainerSpec,
  changes: Partial<ContainerRecord> & { sandboxId: SandboxId },
): ContainerRecord {
  return {
    version: 1,
    id: newContainerId(),
    name: "k8s_main_web_default_u-1_0",
    spec,
    state: "created",
    runtimeHandler: "crun",
    imageId: "a".repeat(64),
    imageRef: "a".repeat(64),
    imageName: "docker.io/library/busybox:latest",
    createdAtNanos: "1700000000000000002",
    startedAtNanos: "0",
    finishedAtNanos: "0",
    exitCode: -1,
    oomKilled: false,
    seccompKilled: false,
    message: "",
    directory: "/var/lib/c",
    runDirectory: "/run/c",
    rootfs: "/merged",
    cgroupPath: "/kubepods/x/c",
    cgroupParent: "/kubepods/x",
    logFile: "/var/log/pods/x/main/0.log",
    stopSignal: "SIGTERM",
    mounts: [],
    resources: {},
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    ...changes,
  };
}

/** A record that came from a client's smallest request. */
export function somePod(changes: Partial<SandboxRecord> = {}, config: Partial<PodSandboxConfig> = {}): SandboxRecord {
  return sandboxRecord(sandboxSpec({ config: podConfig(config), runtimeHandler: "" }), changes);
}

/** A record that came from a client's smallest request. */
export function someContainer(
  changes: Partial<ContainerRecord> & { sandboxId: SandboxId },
  config: Partial<ContainerConfig> = {},
): ContainerRecord {
  return containerRecord(containerSpec(containerConfig(config)), changes);
}

/** A node without a kernel below it: operations change records and nothing else. */
export class FakeNode {
  readonly pods = new Map<SandboxId, SandboxRecord>();
  readonly containers = new Map<ContainerId, ContainerRecord>();
  readonly images = new Map<string, ImageInfo>();
  readonly pulls: PullRequest[] = [];
  readonly calls: string[] = [];
  networkProblem: string | undefined = undefined;
  /** Runs at the beginning of RunPodSandbox. */
  onRun: (spec: SandboxSpec, signal: AbortSignal) => Promise<void> = () => Promise.resolve();
  /** Answers ExecSync. */
  onExec: CriOperations["containers"]["execSync"] = () => Promise.reject(new Error("no exec"));

  readonly operations: CriOperations = {
    node: {
      version: "1.37.0",
      cgroupDriver: "cgroupfs",
      networkProblem: () => this.networkProblem,
      handlers: () => ({
        default: "crun",
        all: [
          { name: "crun", recursiveReadOnlyMounts: true, userNamespaces: true },
          { name: "runc", recursiveReadOnlyMounts: false, userNamespaces: true },
        ],
      }),
      verboseConfig: () => ({ sandboxImage: "pause" }),
    },
    sandboxes: {
      run: async (spec, { signal }) => {
        await this.onRun(spec, signal);
        const record = sandboxRecord(spec);
        this.pods.set(record.id, record);
        return record.id;
      },
      stop: (id) => this.#note(`stop pod ${id}`),
      remove: (id) => this.#note(`remove pod ${id}`),
      updateResources: (id, change) => this.#note(`update pod ${id} ${JSON.stringify(change)}`),
      find: (id) => prefixed(this.pods, id),
      list: () => this.pods.values(),
    },
    containers: {
      create: ({ sandbox, spec }) => {
        const record = containerRecord(spec, { sandboxId: sandbox.id });
        this.containers.set(record.id, record);
        return Promise.resolve(record.id);
      },
      start: (id) => this.#note(`start ${id}`),
      stop: (id, { timeoutMs }) => this.#note(`stop ${id} ${timeoutMs}`),
      remove: (id) => this.#note(`remove ${id}`),
      updateResources: (id, limits) => this.#note(`update ${id} ${JSON.stringify(limits)}`),
      find: (id) => prefixed(this.containers, id),
      list: () => this.containers.values(),
      execSync: (id, request) => this.onExec(id, request),
      reopenLog: (id) => this.#note(`reopen ${id}`),
      checkpoint: (id, { location, timeoutMs }) => this.#note(`checkpoint ${id} ${location} ${timeoutMs}`),
      runtimeSpec: () => Promise.resolve({ ociVersion: "1.0.2" }),
    },
    images: {
      list: () => Promise.resolve(this.images.values()),
      find: (reference) =>
        Promise.resolve(
          [...this.images.values()].find((image) => image.id === reference || image.repoTags.includes(reference)),
        ),
      pull: (request) => {
        this.pulls.push(request);
        return Promise.resolve("b".repeat(64));
      },
      remove: (reference) => this.#note(`remove image ${reference}`),
      fsInfo: () =>
        Promise.resolve({
          images: [{ mountpoint: "/var/lib/containers", usedBytes: 5, inodesUsed: 6, timestampNanos: 7n }],
          containers: [],
        }),
      config: (id) =>
        id === ""
          ? Promise.reject(new NotFoundError("image", id))
          : Promise.resolve({ config: { Labels: { a: "b" } } }),
    },
  };

  #note(call: string): Promise<void> {
    this.calls.push(call);
    return Promise.resolve();
  }
}

function prefixed<K extends string, V>(records: ReadonlyMap<K, V>, id: string): V | undefined {
  for (const [key, value] of records) if (key.startsWith(id)) return value;
  return undefined;
}

/** Remembers what was observed. */
export class FakeMetrics implements CallMetrics {
  readonly observed: Array<{ operation: string; failed: boolean }> = [];

  observe(operation: string, _durationMs: number, failed: boolean): void {
    this.observed.push({ operation, failed });
  }
}
