import { InvalidArgumentError } from "../base/errors.ts";
import { bandwidthLimits } from "./bandwidth.ts";
import type { JsonObject, NetworkConfig, PluginConfig, PodIdentity, PodNetworkRequest } from "./types.ts";

/** The largest burst that the bandwidth plugin takes: 4 GiB, in bits; so only the rate limits. */
const UNLIMITED_BURST_BITS = 0xffffffff * 8 - 1;
/** Where the mappings of the daemon's own host ports stand in a cached attachment; no plugin has this capability. */
export const HOST_PORTS_KEY = "io.crio.host-ports";
/** Addresses that mean "every address of the node", which the portmap plugin expresses by an empty text. */
const UNSPECIFIED = new Set(["0.0.0.0", "::", "0:0:0:0:0:0:0:0"]);

/**
 * The CNI_ARGS of a pod, as all Kubernetes runtimes pass them.
 *
 * @throws InvalidArgumentError for a value with a separator, which would smuggle in further arguments
 */
export function podArgs(pod: PodIdentity): ReadonlyArray<readonly [string, string]> {
  const args = [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", pod.namespace],
    ["K8S_POD_NAME", pod.name],
    ["K8S_POD_INFRA_CONTAINER_ID", pod.sandboxId],
    ["K8S_POD_UID", pod.uid],
  ] as const;
  for (const [name, value] of args) {
    if (!/[;=\n]/.test(value)) continue;
    throw new InvalidArgumentError(
      `${name}: ${JSON.stringify(value.slice(0, 200))} must not hold ";", "=" or a line end`,
    );
  }
  return args;
}

/**
 * What a pod asks for, by the capability names of the CNI conventions; nothing is there that was not asked for.
 *
 * @throws InvalidArgumentError for a bandwidth annotation that is no rate
 */
export function capabilityArgs(pod: PodNetworkRequest): JsonObject {
  const args: Record<string, unknown> = {};
  const ports = (pod.portMappings ?? []).filter(({ hostPort }) => hostPort > 0);
  if (ports.length > 0) {
    args[HOST_PORTS_KEY] = ports;
    args["portMappings"] = ports.map(({ hostPort, containerPort, protocol, hostIp }) => ({
      hostPort,
      containerPort,
      protocol,
      ...(hostIp === "" || UNSPECIFIED.has(hostIp) ? {} : { hostIP: hostIp }),
    }));
  }
  const { ingressBitsPerSecond: ingress = 0, egressBitsPerSecond: egress = 0 } = bandwidthLimits(pod.annotations ?? {});
  if (ingress > 0 || egress > 0) {
    args["bandwidth"] = {
      ...(ingress > 0 ? { ingressRate: ingress, ingressBurst: UNLIMITED_BURST_BITS } : {}),
      ...(egress > 0 ? { egressRate: egress, egressBurst: UNLIMITED_BURST_BITS } : {}),
    };
  }
  if (pod.cgroupParent !== undefined && pod.cgroupParent !== "") args["cgroupPath"] = pod.cgroupParent;
  if (pod.aliases !== undefined && pod.aliases.length > 0) args["aliases"] = pod.aliases;
  if (pod.dns !== undefined) args["dns"] = pod.dns;
  if (pod.annotations !== undefined) args["io.kubernetes.cri.pod-annotations"] = pod.annotations;
  return args;
}

/** The capabilities that some plugin of a network wants. */
export function wantsCapability(network: NetworkConfig, capability: string): boolean {
  return network.plugins.some(({ capabilities }) => capabilities.includes(capability));
}

/** The part of `args` for one plugin: its own capabilities only. */
export function runtimeConfig(plugin: PluginConfig, args: JsonObject): JsonObject | undefined {
  const wanted = plugin.capabilities.filter((name) => args[name] !== undefined);
  if (wanted.length === 0) return undefined;
  return Object.fromEntries(wanted.map((name) => [name, args[name]]));
}
