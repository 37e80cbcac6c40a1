import { isIP } from "node:net";
import type { DnsConfig, PodMetadata, PortMapping, SandboxSpec } from "../../sandbox/types.ts";
import {
  type DNSConfig,
  type PodSandboxConfig,
  type PodSandboxMetadata,
  type PortMapping as CriPortMapping,
  Protocol,
} from "../gen/api.ts";
import {
  absolute,
  inside,
  integer,
  invalid,
  labels,
  nameLike,
  oneLine,
  plainRecord,
  quote,
  required,
} from "./_checks.ts";
import { resourceLimits } from "./resources.ts";
import { podSecurity } from "./security.ts";

/** HOST_NAME_MAX of Linux. */
const MAX_HOSTNAME_LENGTH = 64;

/**
 * The request for a pod, checked as far as that needs no state. The Windows part is ignored.
 *
 * @param request.config of RunPodSandbox, or the pod's configuration that another request repeats
 * @throws InvalidArgumentError, UnimplementedError that name the field
 */
export function sandboxSpec(
  request: { readonly config: PodSandboxConfig | undefined; readonly runtimeHandler: string },
  field = "config",
): SandboxSpec {
  const config = required(request.config, field);
  const metadata = podMetadata(config.metadata, `${field}.metadata`);
  const { linux } = config;
  const dns = dnsConfig(config.dnsConfig, `${field}.dns_config`);
  return {
    metadata,
    hostname: hostname(config.hostname, `${field}.hostname`),
    logDirectory: config.logDirectory === "" ? "" : absolute(config.logDirectory, `${field}.log_directory`),
    portMappings: config.portMappings.map((mapping) => portMapping(mapping, `${field}.port_mappings`)),
    labels: { ...kubeletLabels(metadata), ...labels(config.labels, `${field}.labels`) },
    annotations: plainRecord(config.annotations),
    runtimeHandler: oneLine(request.runtimeHandler, "runtime_handler"),
    cgroupParent: cgroupParent(linux?.cgroupParent ?? "", `${field}.linux.cgroup_parent`),
    sysctls: sysctls(linux?.sysctls ?? new Map(), `${field}.linux.sysctls`),
    overhead: resourceLimits(linux?.overhead, `${field}.linux.overhead`),
    resources: resourceLimits(linux?.resources, `${field}.linux.resources`),
    security: podSecurity(linux?.securityContext, `${field}.linux.security_context`),
    ...(dns === undefined ? {} : { dns }),
  };
}

/** crictl leaves these out; the kubelet always sends them, and tools select on them. */
function kubeletLabels(metadata: PodMetadata): Record<string, string> {
  return {
    "io.kubernetes.pod.name": metadata.name,
    "io.kubernetes.pod.namespace": metadata.namespace,
    "io.kubernetes.pod.uid": metadata.uid,
  };
}

function podMetadata(metadata: PodSandboxMetadata | undefined, field: string): PodMetadata {
  const { name, namespace, uid, attempt } = required(metadata, field);
  return {
    name: nameLike(name, `${field}.name`),
    namespace: nameLike(namespace, `${field}.namespace`),
    // crictl's examples leave it out.
    uid: uid === "" ? "" : nameLike(uid, `${field}.uid`),
    attempt,
  };
}

function hostname(name: string, field: string): string {
  if (name.length > MAX_HOSTNAME_LENGTH) throw invalid(field, `${quote(name)} is longer than ${MAX_HOSTNAME_LENGTH}`);
  // It goes into /etc/hosts, where a blank would begin another name.
  if (/[\s/]/.test(name)) throw invalid(field, `${quote(name)} contains a blank or a slash`);
  return oneLine(name, field);
}

function dnsConfig(config: DNSConfig | undefined, field: string): DnsConfig | undefined {
  if (config === undefined) return undefined;
  const lines = (key: "servers" | "searches" | "options"): string[] =>
    config[key].map((entry) => oneLine(entry, `${field}.${key}`));
  return { servers: lines("servers"), searches: lines("searches"), options: lines("options") };
}

const PROTOCOLS: Readonly<Record<number, PortMapping["protocol"]>> = {
  [Protocol.TCP]: "tcp",
  [Protocol.UDP]: "udp",
  [Protocol.SCTP]: "sctp",
};

function portMapping(mapping: CriPortMapping, field: string): PortMapping {
  const { hostIp } = mapping;
  const protocol = PROTOCOLS[mapping.protocol];
  if (protocol === undefined) throw invalid(field, `protocol ${String(mapping.protocol)} is not known`);
  if (hostIp !== "" && isIP(hostIp) === 0) throw invalid(`${field}.host_ip`, `${quote(hostIp)} is not an address`);
  return {
    protocol,
    containerPort: port(mapping.containerPort, `${field}.container_port`),
    hostPort: port(mapping.hostPort, `${field}.host_port`),
    hostIp,
  };
}

function port(value: number, field: string): number {
  return integer(BigInt(value), field, { min: 0, max: 65535 });
}

/** A path below the cgroup root, or a slice name. */
function cgroupParent(parent: string, field: string): string {
  inside(parent, field);
  return oneLine(parent, field);
}

function sysctls(map: ReadonlyMap<string, string>, field: string): Readonly<Record<string, string>> {
  for (const [key, value] of map) {
    // Dots or slashes separate; neither may lead out of /proc/sys.
    if (!/^[A-Za-z0-9_-]+([./][A-Za-z0-9_:*-]+)*$/.test(key)) throw invalid(field, `${quote(key)} is not a sysctl`);
    // Some take several numbers with tabs between them.
    oneLine(value.replaceAll("\t", " "), `${field}.${key}`);
  }
  return plainRecord(map);
}
