import type { ContainerSpec } from "./types.ts";

/** How long its pod may take to end, in seconds; the kubelet puts it on every container. */
const GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod";
const PROPERTY = "org.systemd.property.";

/**
 * Annotations by which runtimes set properties of a container's scope, as GVariant texts: the unit goes with its last
 * process also after a failure (an OOM kill is one), and gets its grace period when systemd stops it at shutdown.
 */
export function systemdProperties({ annotations }: ContainerSpec): Record<string, string> {
  const seconds = annotations[GRACE_PERIOD] ?? "";
  return {
    [`${PROPERTY}CollectMode`]: "'inactive-or-failed'",
    ...(/^\d{1,9}$/.test(seconds) ? { [`${PROPERTY}TimeoutStopUSec`]: `uint64 ${Number(seconds) * 1_000_000}` } : {}),
  };
}
