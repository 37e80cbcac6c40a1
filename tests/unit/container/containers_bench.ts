import type { ContainerId } from "../../../src/base/ids.ts";
import { newSandboxId } from "../../../src/base/ids.ts";
import { abortable } from "../../../src/base/keyed_mutex.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { Containers } from "../../../src/container/containers.ts";
import type { ContainerDeps } from "../../../src/container/deps.ts";
import { ContainerExits } from "../../../src/container/exits.ts";
import type { MountRules } from "../../../src/container/volumes/mount_rules.ts";
import type { ContainerRuntime, PodContext } from "../../../src/container/ports.ts";
import type { ContainerRecord, ContainerSpec } from "../../../src/container/types.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { RecordStore } from "../../../src/state/record_store.ts";
import { containerSpec } from "../../fakes/records.ts";

openLibraries();

/** The host that the fakes pretend to be: what is left on it. */
export class FakeHost {
  readonly rootfs = new Set<string>();
  readonly inRuntime = new Map<string, "created" | "running">();
  readonly alive = new Set<number>();
  readonly calls: string[] = [];
  fail: string | undefined;
  gate: Promise<void> = Promise.resolve();
  #nextPid = 1000;

  step(name: string): void {
    this.calls.push(name);
    if (this.fail === name) throw new Error(`${name} failed`);
  }

  spawn(): { pid: number; startTime: string } {
    const pid = this.#nextPid++;
    this.alive.add(pid);
    return { pid, startTime: "1" };
  }
}

export interface Bench {
  readonly host: FakeHost;
  readonly containers: Containers;
  readonly deps: ContainerDeps;
  readonly pod: PodContext;
  readonly directory: string;
}

export const signal = new AbortController().signal;

const RULES: MountRules = {
  bindMountPrefix: "",
  absentSourcesToReject: [],
  storageRoot: "/var/lib/containers/storage",
  readOnly: false,
  imageVolumes: "mkdir",
  defaultMountsFiles: [],
};

export async function withContainers(body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const host = new FakeHost();
    const deps = await fakeDeps(directory, host);
    await body({ host, deps, containers: new Containers(deps), pod: fakePod(directory), directory });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

export async function openRecords(directory: string): Promise<RecordStore<ContainerRecord>> {
  return await RecordStore.open<ContainerRecord>({
    directory: `${directory}/records`,
    what: "container",
    log: silentLogger,
    parse: (json) => json as ContainerRecord,
  });
}

async function fakeDeps(directory: string, host: FakeHost): Promise<ContainerDeps> {
  const records = await openRecords(directory);
  const exits = new ContainerExits({ records, log: silentLogger });
  const runtime: ContainerRuntime = {
    name: "crun",
    features: {
      ociVersion: "1.0.2",
      recursiveReadOnly: true,
      readonlySysfs: "mount",
      userNamespaces: true,
      wantsIdMappings: false,
    },
    create: async ({ id }, { signal }) => {
      await abortable(host.gate, signal);
      host.step("runtime create");
      host.inRuntime.set(id, "created");
      return { process: host.spawn(), monitor: host.spawn() };
    },
    start: async (id, { signal }) => {
      await abortable(host.gate, signal);
      host.step("start");
      host.inRuntime.set(id, "running");
    },
    delete: (id) => {
      host.step("runtime delete");
      host.inRuntime.delete(id);
      return Promise.resolve();
    },
    pause: () => Promise.resolve(),
    resume: () => Promise.resolve(),
    minMemoryBytes: 1000,
    update: () => Promise.resolve(),
    checkpoint: () => Promise.reject(new Error("not here")),
    execSync: () => Promise.reject(new Error("not here")),
    execStream: () => Promise.reject(new Error("not here")),
    attachPoint: () => ({ socketPath: "/nowhere/attach", resize: () => {} }),
    reopenLog: () => Promise.resolve(),
    wasStarted: (id) => Promise.resolve(host.inRuntime.get(id) === "running"),
  };
  return {
    records,
    exits,
    images: {
      resolve: () => {
        host.step("image");
        const defaults = {
          env: ["A=image", "B=image"],
          entrypoint: ["/entry"],
          cmd: ["cmd"],
          user: "",
          workingDir: "/work",
          stopSignal: "SIGUSR2",
          volumes: ["/data"],
          platform: "linux/amd64",
        };
        return Promise.resolve({ id: "f".repeat(64), ref: "f".repeat(64), name: "img:1", defaults, annotations: {} });
      },
    },
    rootfs: {
      places: (id) => ({ directory: `${directory}/${id}`, runDirectory: `${directory}/${id}/run` }),
      create: async ({ id }) => {
        host.step("rootfs create");
        host.rootfs.add(id);
        await Deno.mkdir(`${directory}/${id}/rootfs/etc`, { recursive: true });
        await Deno.mkdir(`${directory}/${id}/run`);
      },
      mount: (id) => {
        host.step("mount");
        return Promise.resolve(`${directory}/${id}/rootfs`);
      },
      layers: () => Promise.reject(new Error("not here")),
      mountPoint: (id) => Promise.resolve(`/mounted/${id}`),
      withImage: () => Promise.reject(new Error("not here")),
      remove: async (id) => {
        host.step("rootfs remove");
        host.rootfs.delete(id);
        await Deno.remove(`${directory}/${id}`, { recursive: true }).catch(() => {});
      },
    },
    runtimes: { find: () => runtime, forPlatform: () => runtime },
    hooks: { select: () => Promise.resolve({}) },
    reachable: {
      expose: (_id, rootfs) => Promise.resolve(rootfs),
      remove: () => Promise.resolve(),
      sweep: () => Promise.resolve(),
    },
    imageVolumes: {
      open: () => Promise.reject(new Error("not here")),
      release: () => Promise.resolve(),
      sweep: () => Promise.resolve(),
    },
    checkpoints: { refusal: () => undefined, stagingDirectory: `${directory}/staging` },
    cgroups: {
      containerPath: (parent, id) => `${parent}/crio-${id}`,
      killAll: () => Promise.resolve(),
      takeOver: () => Promise.resolve(),
      oomKills: () => Promise.resolve(undefined),
      memoryUsageBytes: () => Promise.resolve(0),
      holdLimits: () => Promise.resolve(() => Promise.resolve([])),
      finishLimits: () => Promise.resolve(),
      remove: () => Promise.resolve(),
    },
    annotations: { forContainer: (own, pod) => ({ ...pod.annotations, ...own }), workloadOf: () => undefined },
    processes: {
      isAlive: ({ pid }) => host.alive.has(pid),
      signal: ({ pid }, number) => {
        host.step(`signal ${number}`);
        if (number !== 9) return true;
        host.alive.delete(pid);
        const record = [...records.values()].find((one) => one.process?.pid === pid);
        if (record !== undefined) {
          void exits.handle({ id: record.id, exitCode: 137, finishedAtNanos: 9n, oomKilled: false });
        }
        return true;
      },
      killNaming: () => Promise.resolve(host.step("kill naming")),
    },
    confinement: { confine: () => Promise.resolve({ seccomp: { ref: "Unconfined" } }) },
    node: {
      defaultCapabilities: ["CHOWN"],
      availableCapabilities: new Set(["CAP_CHOWN"]),
      addInheritableCapabilities: false,
      rules: RULES,
      cgroupNamespaces: false,
      defaultEnv: ["A=node", "C=node"],
      defaultUlimits: [],
      pidsLimit: -1,
      timezone: "",
      readOnly: false,
      minOomScoreAdj: 0,
      hasHugetlb: false,
      hasCpuset: true,
      hasSwap: true,
      hasUnified: true,
      unsetsQuota: true,
      createTimeoutMs: 60_000,
      devices: { additional: [], allowed: [], ownedByUser: false },
      handlers: new Map(),
      minGomaxprocs: 0,
      sharedCpuset: "",
      systemdCgroups: false,
    },
    cdi: { edits: () => Promise.resolve([]) },
    clock: { nowNanos: () => 5n, monotonicMs: () => performance.now() },
    log: silentLogger,
    readExit: () => Promise.resolve(undefined),
    exitsDirectory: directory,
  };
}

function fakePod(directory: string): PodContext {
  return {
    id: newSandboxId(),
    ready: true,
    privileged: false,
    name: "pod",
    namespace: "ns",
    uid: "uid",
    labels: {},
    sandboxName: "k8s_pod_ns_uid_0",
    ips: ["10.0.0.2"],
    annotations: {},
    runtimeHandler: "crun",
    hostname: "pod-host",
    hostNetwork: false,
    namespaces: { network: "/ns/net", ipc: "/ns/ipc", uts: "/ns/uts" },
    cgroupParent: "/pods",
    logDirectory: `${directory}/logs`,
    resolvConf: "/pod/resolv.conf",
    hostnameFile: "/pod/hostname",
    hostsFile: "/pod/hosts",
    shmPath: "/pod/shm",
  };
}

export function named(name: string, changes: Partial<ContainerSpec> = {}): ContainerSpec {
  return containerSpec({ metadata: { name, attempt: 0 }, ...changes });
}

export async function configOf(bench: Bench, id: ContainerId): Promise<OciSpec> {
  return JSON.parse(await Deno.readTextFile(`${bench.directory}/${id}/run/config.json`));
}
