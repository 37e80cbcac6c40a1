import type { Lab } from "../harness/lab.ts";
import { CONFIG_FIELDS } from "./configs.ts";
import type { FieldCheck, FieldHost } from "./check.ts";
import { MOUNT_FIELDS } from "./mounts.ts";
import { RESOURCE_FIELDS } from "./resources.ts";
import { SECURITY_FIELDS } from "./security.ts";
import { USER_NAMESPACE_FIELDS } from "./user_namespaces.ts";

/** Every field whose effect is shown, in the order of the documentation. */
export const FIELDS: readonly FieldCheck[] = [
  ...SECURITY_FIELDS,
  ...USER_NAMESPACE_FIELDS,
  ...RESOURCE_FIELDS,
  ...MOUNT_FIELDS,
  ...CONFIG_FIELDS,
];

/** Looks at this host and at what the daemon says of its runtimes. */
export async function fieldHost(lab: Lab): Promise<FieldHost> {
  const text = (path: string): Promise<string> => Deno.readTextFile(path).catch(() => "");
  const cgroup2 = await Deno.stat("/sys/fs/cgroup/cgroup.controllers").then(() => true, () => false);
  const controllers = cgroup2 ? await text("/sys/fs/cgroup/cgroup.controllers") : await text("/proc/self/cgroup");
  const memory = "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
  const { runtimeHandlers } = await lab.daemon.client.call("status", {});
  const named = runtimeHandlers.filter(({ name }) => name !== "");
  return {
    apparmor: (await text("/sys/module/apparmor/parameters/enabled")).startsWith("Y"),
    selinux: await text("/sys/fs/selinux/enforce") !== "",
    cgroup2,
    hugetlb: controllers.includes("hugetlb"),
    swapAccounting: cgroup2 || await Deno.stat(memory).then(() => true, () => false),
    processors: navigator.hardwareConcurrency,
    userNamespaces: named.find(({ features }) => features?.userNamespaces)?.name,
    recursiveReadOnly: named.find(({ features }) => features?.recursiveReadOnlyMounts)?.name,
  };
}
