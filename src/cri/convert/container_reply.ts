import type { ContainerRecord } from "../../container/types.ts";
import { type Container, ContainerState, type ContainerStatus, type ImageSpec } from "../gen/api.ts";
import { reportedMount } from "./mounts.ts";
import { linuxResources } from "./resources.ts";
import { signalValue } from "./signal.ts";

/** A container as ListContainers gives it. */
export function container(record: ContainerRecord): Container {
  const { spec } = record;
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: { name: spec.metadata.name, attempt: spec.metadata.attempt },
    image: imageSpec(record),
    imageRef: record.imageRef,
    state: containerState(record),
    createdAt: BigInt(record.createdAtNanos),
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
    imageId: record.imageId,
  };
}

/** A container as ContainerStatus gives it. */
export function containerStatus(record: ContainerRecord): ContainerStatus {
  const { spec } = record;
  return {
    id: record.id,
    metadata: { name: spec.metadata.name, attempt: spec.metadata.attempt },
    state: containerState(record),
    createdAt: BigInt(record.createdAtNanos),
    startedAt: BigInt(record.startedAtNanos),
    finishedAt: BigInt(record.finishedAtNanos),
    exitCode: record.state === "exited" ? record.exitCode : 0,
    image: imageSpec(record),
    imageRef: record.imageRef,
    reason: reason(record),
    message: record.message,
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
    mounts: record.mounts.map(reportedMount),
    logPath: record.logFile,
    resources: { linux: linuxResources(record.resources), windows: undefined },
    imageId: record.imageId,
    user: {
      linux: {
        uid: BigInt(record.user.uid),
        gid: BigInt(record.user.gid),
        supplementalGroups: record.user.supplementalGroups.map(BigInt),
      },
    },
    stopSignal: signalValue(record.stopSignal),
  };
}

/** The CRI has no word for a paused container: its process is there, so it runs. */
export function containerState(record: ContainerRecord): ContainerState {
  return STATES[record.state];
}

/** The verbose answer's `info` value. */
export function containerInfo(record: ContainerRecord, runtimeSpec: unknown): Map<string, string> {
  const info = {
    sandboxID: record.sandboxId,
    pid: record.process?.pid ?? 0,
    runtimeSpec,
    privileged: record.spec.security.privileged,
    ...(record.checkpointedAtNanos === undefined ? {} : { checkpointedAt: isoTime(record.checkpointedAtNanos) }),
    ...(record.restoredFrom === undefined ? {} : { restored: true }),
  };
  return new Map([["info", JSON.stringify(info)]]);
}

function isoTime(nanos: string): string {
  return new Date(Number(BigInt(nanos) / 1_000_000n)).toISOString();
}

const STATES: Readonly<Record<ContainerRecord["state"], ContainerState>> = {
  // Never listed; whoever asks in that moment sees what it is about to be.
  creating: ContainerState.CONTAINER_CREATED,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  paused: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
};

/** The kubelet and its users know these words. */
function reason(record: ContainerRecord): string {
  if (record.state !== "exited") return "";
  if (record.oomKilled) return "OOMKilled";
  if (record.seccompKilled) return "seccomp killed";
  return record.exitCode === 0 ? "Completed" : "Error";
}

function imageSpec(record: ContainerRecord): ImageSpec {
  const { image, annotations, userSpecifiedImage, runtimeHandler } = record.spec.image;
  return {
    // The kubelet asks by id and shows people what stands here.
    image: record.imageName || image,
    annotations: new Map(Object.entries(annotations)),
    userSpecifiedImage,
    runtimeHandler,
    imageRef: record.imageId,
  };
}
