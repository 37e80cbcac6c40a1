import { InvalidArgumentError } from "../base/errors.ts";
import type { PinnedKind } from "./namespaces.ts";

/** Which namespace holds a sysctl; names as paths below /proc/sys. Everything else belongs to the node. */
const OWNERS: ReadonlyArray<{ readonly pattern: RegExp; readonly kind: PinnedKind }> = [
  { pattern: /^net\//, kind: "network" },
  { pattern: /^fs\/mqueue\//, kind: "ipc" },
  { pattern: /^kernel\/(?:shm[a-z_]*|msg[a-z_]*|sem|sem_next_id)$/, kind: "ipc" },
  { pattern: /^kernel\/(?:hostname|domainname)$/, kind: "uts" },
];

/** The kind of namespace that holds a sysctl; undefined for one of the node, or a name that is none. */
export function sysctlOwner(name: string): PinnedKind | undefined {
  const path = toPath(name);
  return OWNERS.find(({ pattern }) => pattern.test(path))?.kind;
}

/**
 * The file of a sysctl that lives in one of the namespaces `kinds`. Both spellings are known: `net.ipv4.conf.eth0/1.x`
 * and `net/ipv4/conf/eth0.1/x`; the first separator decides, as in sysctl(8).
 *
 * @throws InvalidArgumentError for a name that would change the node, or that leaves /proc/sys
 */
export function sysctlFile(name: string, kinds: readonly PinnedKind[]): string {
  const path = toPath(name);
  const parts = path.split("/");
  if (!/^[\w./:@-]+$/.test(path) || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new InvalidArgumentError(`sysctl ${JSON.stringify(name)} is not a valid name`);
  }
  const owner = OWNERS.find(({ pattern }) => pattern.test(path));
  if (owner === undefined) {
    throw new InvalidArgumentError(`sysctl ${name} belongs to the node, not to a pod: it cannot be set for one`);
  }
  if (!kinds.includes(owner.kind)) {
    throw new InvalidArgumentError(`sysctl ${name} needs a ${owner.kind} namespace of its own, but the node's is used`);
  }
  return `/proc/sys/${path}`;
}

function toPath(name: string): string {
  const dot = name.indexOf(".");
  const slash = name.indexOf("/");
  if (dot < 0 || (slash >= 0 && slash < dot)) return name;
  return name.replace(/[./]/g, (separator) => separator === "." ? "/" : ".");
}
