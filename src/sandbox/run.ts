import { atStage, messageOf } from "../base/errors.ts";
import { rootOwner } from "../base/id_maps.ts";
import { newSandboxId, type SandboxId } from "../base/ids.ts";
import type { OperationContext } from "../base/joint_operations.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { SandboxDeps } from "./deps.ts";
import { hostsText, podFiles, writePodFile, writePodFiles } from "./pod_files.ts";
import { labelPodFiles } from "./pod_labels.ts";
import { podSysctls } from "./sysctls.ts";
import { linkedLogsOf, shmSizeOf } from "./pod_annotations.ts";
import { attachmentOf, tearDownSandbox } from "./teardown.ts";
import type { SandboxRecord, SandboxSpec } from "./types.ts";

const SHORT_ID_LENGTH = 12;

/** The name that is unique on the node: one pod, namespace, uid and attempt. */
export function sandboxName(spec: SandboxSpec): string {
  const { name, namespace, uid, attempt } = spec.metadata;
  return ["k8s", name, namespace, uid, attempt].join("_");
}

/**
 * Makes a pod: namespaces, network, files; no process unless its containers share one PID namespace.
 *
 * The record is written before anything else exists; a failure or a crash at any later step is taken down from it.
 */
export async function runSandbox(
  deps: SandboxDeps,
  spec: SandboxSpec,
  context: OperationContext,
): Promise<SandboxId> {
  const name = sandboxName(spec);
  const present = deps.records.byName(name);
  if (present !== undefined && present.state !== "creating") return present.id;
  if (present !== undefined) await tearDownSandbox(deps, present);
  const record = await insertFirst(deps, spec, { name, context });
  try {
    await build(deps, record, context);
    return record.id;
  } catch (error) {
    await deps.plugins?.notRun(deps.records.get(record.id) ?? record);
    await tearDownSandbox(deps, deps.records.get(record.id) ?? record).catch((left) => {
      deps.log.error(
        `cleaning up after a failed run did not finish; a retry or a restart repeats it: ${messageOf(left)}`,
        {
          sandbox: record.id,
        },
      );
    });
    throw atStage(`run pod sandbox ${name}`, error);
  }
}

/** One pod at a time: ids that one got have to be recorded before the next one looks which are free. */
const mapping = new KeyedMutex<SandboxDeps["records"]>();

async function insertFirst(
  deps: SandboxDeps,
  spec: SandboxSpec,
  { name, context }: { name: string; context: OperationContext },
): Promise<SandboxRecord> {
  const record = firstRecord(deps, spec, name);
  const annotations = deps.annotations.forPod(spec.annotations, { handler: record.runtimeHandler });
  using _turn = await mapping.acquire(deps.records, context);
  const userMaps = await deps.userNamespaces.mapsOf(spec, annotations);
  const mapped = userMaps === undefined ? record : { ...record, userMaps };
  await deps.records.insert(mapped);
  return mapped;
}

function firstRecord(deps: SandboxDeps, spec: SandboxSpec, name: string): SandboxRecord {
  const id = newSandboxId();
  const runDirectory = `${deps.runDirectory}/${id}`;
  const runtimeHandler = deps.resolveHandler(spec.runtimeHandler);
  const annotations = deps.annotations.forPod(spec.annotations, { handler: runtimeHandler });
  const linkedLogs = linkedLogsOf(annotations, spec, deps);
  const { namespaces } = spec.security;
  return {
    version: 1,
    id,
    name,
    spec,
    state: "creating",
    runtimeHandler,
    createdAtNanos: String(deps.clock.nowNanos()),
    namespaces: {},
    ips: [],
    ...(deps.selinux === undefined ? {} : { selinux: deps.selinux.forPod(spec.security.selinux) }),
    networkAttached: false,
    runDirectory,
    ...podFiles(runDirectory, spec),
    shmPath: namespaces.ipc === "node" ? "/dev/shm" : `${runDirectory}/shm`,
    hostname: hostname(spec, id),
    ...(spec.logDirectory === "" ? { ownLogDirectory: `${deps.logDirectory()}/${id}` } : {}),
    cgroupParent: deps.cgroups.parent(spec.cgroupParent),
    ...(linkedLogs === undefined ? {} : { linkedLogs }),
  };
}

function hostname(spec: SandboxSpec, id: SandboxId): string {
  if (spec.security.namespaces.network === "node") return Deno.hostname();
  return spec.hostname === "" ? id.slice(0, SHORT_ID_LENGTH) : spec.hostname;
}

async function build(deps: SandboxDeps, first: SandboxRecord, context: OperationContext): Promise<void> {
  const { spec, id } = first;
  const modes = spec.security.namespaces;
  const ownNetwork = modes.network === "pod";
  if (ownNetwork) {
    context.stage("waiting for the pod network to be configured");
    await deps.network.waitReady(context);
  }
  context.stage("sandbox namespace creation");
  const kinds = [
    ...(ownNetwork ? ["network" as const, "uts" as const] : []),
    ...(modes.ipc === "pod" ? ["ipc" as const] : []),
  ];
  const sysctls = podSysctls({ defaults: deps.defaultSysctls(), requested: spec.sysctls }, {
    id,
    kinds,
    log: deps.log,
  });
  const namespaces = await deps.namespaces.pin({
    ...{ name: id, kinds, hostname: first.hostname, sysctls, signal: context.signal },
    ...(first.userMaps === undefined ? {} : { userMaps: first.userMaps }),
  });
  const record = await deps.records.update(id, (now) => ({ ...now, namespaces, networkAttached: ownNetwork })) ?? first;
  context.stage(ownNetwork ? "sandbox network creation" : "sandbox files");
  const files = makeFiles(deps, record);
  const network = namespaces.network === undefined
    ? Promise.resolve({ ips: [] })
    : deps.network.attach(attachmentOf(record, namespaces.network), context);
  // Both end before anything is decided: a teardown must not race with the other half.
  const [filesDone, attached] = await Promise.allSettled([files, network]);
  if (attached.status === "rejected") throw attached.reason;
  if (filesDone.status === "rejected") throw filesDone.reason;
  const { ips } = attached.value;
  if (ownNetwork) await writePodFile(record.hostsFile, hostsText(record.hostname, ips), record);
  context.stage("sandbox container runtime creation");
  const infra = modes.pid.kind === "pod" ? await deps.infra.start(record, context) : undefined;
  await labelPodFiles(record);
  context.signal.throwIfAborted();
  const finish = (now: SandboxRecord): SandboxRecord => ({
    ...now,
    state: "ready",
    ips,
    ...(infra === undefined ? {} : { infra, namespaces: { ...now.namespaces, pid: `/proc/${infra.pid}/ns/pid` } }),
  });
  context.stage("asking plugins");
  await deps.plugins?.running(finish(record), context);
  await deps.records.update(id, finish);
  deps.plugins?.ran(record);
}

async function makeFiles(deps: SandboxDeps, record: SandboxRecord): Promise<void> {
  if (record.spec.security.namespaces.pid.kind !== "pod") await deps.cgroups.mark(record.cgroupParent, record.id);
  await Deno.mkdir(record.runDirectory, { recursive: true, mode: 0o700 });
  const { ownLogDirectory } = record;
  if (ownLogDirectory !== undefined) await Deno.mkdir(ownLogDirectory, { recursive: true, mode: 0o700 });
  else await Deno.mkdir(record.spec.logDirectory, { recursive: true, mode: 0o755 });
  if (record.linkedLogs !== undefined) await deps.mounts.linkLogs(record.spec.logDirectory, record.linkedLogs);
  await writePodFiles(record, record);
  if (record.spec.security.namespaces.ipc === "node") return;
  const annotations = deps.annotations.forPod(record.spec.annotations, { handler: record.runtimeHandler });
  const sizeBytes = shmSizeOf(annotations, deps.shmSizeBytes);
  await Deno.mkdir(record.shmPath, { recursive: true, mode: 0o700 });
  const label = record.selinux?.mountLabel;
  const owner = rootOwner(record.userMaps);
  deps.mounts.mountShm(record.shmPath, { sizeBytes, owner, ...(label === undefined ? {} : { label }) });
}
