import type { SandboxRecord } from "./types.ts";

const OWN = "io.kubernetes.cri-o.";

/** The daemon's notes in the runtime configuration of an infra process, for tools; the daemon reads none of them back. */
export function infraAnnotations(record: SandboxRecord): Record<string, string> {
  const { spec, id } = record;
  const { metadata, security } = spec;
  const values: Record<string, string> = {
    ContainerType: "sandbox",
    ContainerID: id,
    ContainerName: record.name,
    Name: record.name,
    SandboxID: id,
    SandboxName: record.name,
    KubeName: metadata.name,
    Namespace: metadata.namespace,
    HostName: record.hostname,
    HostNetwork: String(security.namespaces.network === "node"),
    CgroupParent: record.cgroupParent,
    RuntimeHandler: record.runtimeHandler,
    PrivilegedRuntime: String(security.privileged),
    LogPath: spec.logDirectory,
    ResolvPath: record.resolvConf,
    HostnamePath: record.hostnameFile,
    ShmPath: record.shmPath,
    Metadata: JSON.stringify(metadata),
    Labels: JSON.stringify(spec.labels),
    Annotations: JSON.stringify(spec.annotations),
    NamespaceOptions: JSON.stringify(security.namespaces),
    PortMappings: JSON.stringify(spec.portMappings),
  };
  return {
    "io.container.manager": "cri-o",
    "io.kubernetes.pod.name": metadata.name,
    "io.kubernetes.pod.namespace": metadata.namespace,
    "io.kubernetes.pod.uid": metadata.uid,
    ...Object.fromEntries(Object.entries(values).map(([name, value]) => [OWN + name, value])),
  };
}
