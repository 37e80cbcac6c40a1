import { InvalidArgumentError } from "../../base/errors.ts";
import type { OciCapabilities } from "./types.ts";

/** All capabilities of Linux 6, in the order of their numbers (linux/capability.h). */
export const ALL_CAPABILITIES: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
].map((name) => `CAP_${name}`);

const KNOWN: ReadonlySet<string> = new Set(ALL_CAPABILITIES);

export interface CapabilityRequest {
  readonly privileged: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly addAmbient: readonly string[];
  /** What a container has when nothing is said. */
  readonly defaults: readonly string[];
  /** What this node can give; asking for more would make the runtime fail. */
  readonly available: ReadonlySet<string>;
  readonly addInheritable: boolean;
}

/**
 * The capability sets of a container: the defaults, without the dropped, with the added. `ALL` in `add` or `drop` means
 * all; single names then except from it, as the kubelet's users expect.
 *
 * @returns the sets, and which requested capabilities this node cannot give
 * @throws InvalidArgumentError for an unknown name
 */
export function resolveCapabilities(
  request: CapabilityRequest,
): { readonly sets: OciCapabilities; readonly missing: readonly string[] } {
  const { privileged, available } = request;
  const add = request.add.map(canonical);
  const drop = request.drop.map(canonical);
  const ambient = request.addAmbient.map(canonical).filter((name) => name !== ALL);
  const wanted = new Set(
    privileged || add.includes(ALL) ? ALL_CAPABILITIES : drop.includes(ALL) ? [] : request.defaults.map(canonical),
  );
  if (!privileged) {
    for (const name of drop) wanted.delete(name);
    for (const name of add) if (name !== ALL) wanted.add(name);
    for (const name of ambient) wanted.add(name);
  }
  const given = ALL_CAPABILITIES.filter((name) => wanted.has(name) && available.has(name));
  const raised = ambient.filter((name) => available.has(name));
  const inheritable = request.addInheritable ? given : raised;
  const named = new Set([...add, ...ambient]);
  return {
    sets: {
      bounding: given,
      effective: given,
      permitted: given,
      ...(inheritable.length > 0 ? { inheritable, ambient: inheritable } : {}),
    },
    missing: [...named].filter((name) => name !== ALL && !available.has(name)),
  };
}

const ALL = "ALL";

/** `chown`, `CHOWN`, `CAP_CHOWN` -> `CAP_CHOWN`; `all` -> `ALL`. */
function canonical(text: string): string {
  const upper = text.toUpperCase();
  if (upper === "ALL" || upper === "CAP_ALL") return ALL;
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!KNOWN.has(name)) throw new InvalidArgumentError(`capability ${JSON.stringify(text)} is not known`);
  return name;
}
