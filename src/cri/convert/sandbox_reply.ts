import type { PodMetadata, SandboxRecord } from "../../sandbox/types.ts";
import { type PodSandbox, type PodSandboxMetadata, PodSandboxState, type PodSandboxStatus } from "../gen/api.ts";
import { namespaceOption } from "./namespaces.ts";

/** A pod as ListPodSandbox gives it. */
export function podSandbox(record: SandboxRecord): PodSandbox {
  const { spec } = record;
  return {
    id: record.id,
    metadata: podMetadata(spec.metadata),
    state: podState(record),
    createdAt: BigInt(record.createdAtNanos),
    labels: new Map(Object.entries(spec.labels)),
    annotations: new Map(Object.entries(spec.annotations)),
    runtimeHandler: record.runtimeHandler,
  };
}

/** A pod as PodSandboxStatus gives it. */
export function podSandboxStatus(record: SandboxRecord): PodSandboxStatus {
  const [ip = "", ...others] = record.ips;
  return {
    ...podSandbox(record),
    network: { ip, additionalIps: others.map((other) => ({ ip: other })) },
    linux: { namespaces: { options: namespaceOption(record.spec.security.namespaces) } },
  };
}

export function podState(record: SandboxRecord): PodSandboxState {
  return record.state === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/**
 * The verbose answer's `info` value. Tools read the pid and the paths of namespaces from `runtimeSpec`, so there is one
 * even for a pod without a process of its own.
 */
export function podSandboxInfo(record: SandboxRecord): Map<string, string> {
  const { namespaces } = record;
  const types = { network: "network", ipc: "ipc", uts: "uts", user: "user", pid: "pid" } as const;
  const info = {
    image: "",
    pid: record.infra?.pid ?? 0,
    runtimeSpec: {
      hostname: record.hostname,
      annotations: record.spec.annotations,
      linux: {
        cgroupsPath: record.cgroupParent,
        sysctl: record.spec.sysctls,
        namespaces: Object.entries(types).flatMap(([key, type]) => {
          const path = namespaces[key as keyof typeof types];
          return path === undefined ? [] : [{ type, path }];
        }),
      },
    },
  };
  return new Map([["info", JSON.stringify(info)]]);
}

function podMetadata({ name, uid, namespace, attempt }: PodMetadata): PodSandboxMetadata {
  return { name, uid, namespace, attempt };
}
