import type { Logger } from "../base/logger.ts";
import { namespaceOfSysctl } from "../linux/namespaces.ts";

/**
 * The sysctls that are set for a pod: the node's defaults, and over them those that the pod asks for. One that belongs to a
 * namespace which the pod shares with the node is left out with a warning, as with CRI-O: it would change the node. One that
 * belongs to the node alone is left out of the defaults; where a pod asks for it, it stays, and is refused when it is set.
 */
export function podSysctls(
  sysctls: {
    readonly defaults: Readonly<Record<string, string>>;
    readonly requested: Readonly<Record<string, string>>;
  },
  { id, kinds, log }: { readonly id: string; readonly kinds: readonly string[]; readonly log: Logger },
): Record<string, string> {
  const isLeftOut = (name: string, owner: string | undefined): boolean => {
    if (owner !== undefined && kinds.includes(owner)) return false;
    log.warn(`sysctl ${name} is left out: the pod shares the namespace that it belongs to with the node`, {
      sandbox: id,
    });
    return true;
  };
  const own = Object.entries(sysctls.defaults).filter(([name]) => !isLeftOut(name, namespaceOfSysctl(name)));
  const asked = Object.entries(sysctls.requested).filter(([name]) => {
    const owner = namespaceOfSysctl(name);
    return owner === undefined || !isLeftOut(name, owner);
  });
  return Object.fromEntries([...own, ...asked]);
}
