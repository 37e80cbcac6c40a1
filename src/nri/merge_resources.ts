import { Field, LinuxCPU, LinuxMemory, type LinuxResources } from "./gen/nri.ts";
import { message } from "./message.ts";

/** Resource fields that one plugin sets as a whole; the entries of the others belong to plugins one by one. */
const MEMORY_FIELDS = {
  limit: Field.MemLimit,
  reservation: Field.MemReservation,
  swap: Field.MemSwapLimit,
  kernel: Field.MemKernelLimit,
  kernelTcp: Field.MemTCPLimit,
  swappiness: Field.MemSwappiness,
  disableOomKiller: Field.MemDisableOomKiller,
  useHierarchy: Field.MemUseHierarchy,
} as const satisfies Record<keyof LinuxMemory, Field>;

const CPU_FIELDS = {
  shares: Field.CPUShares,
  quota: Field.CPUQuota,
  period: Field.CPUPeriod,
  realtimeRuntime: Field.CPURealtimeRuntime,
  realtimePeriod: Field.CPURealtimePeriod,
  cpus: Field.CPUSetCPUs,
  mems: Field.CPUSetMems,
} as const satisfies Record<keyof LinuxCPU, Field>;

/** Takes note of a field, or of one entry of it. @throws PluginConflict */
export type Claim = (field: Field, entry?: string) => void;

/**
 * Puts what a plugin wants of resources on top of `targets`.
 *
 * @throws PluginConflict from `claim`; some fields may have been taken over by then
 */
export function mergeResources(
  wanted: LinuxResources,
  { targets, claim }: { readonly targets: readonly LinuxResources[]; readonly claim: Claim },
): void {
  for (const [name, field] of entriesOf(MEMORY_FIELDS)) {
    const value = wanted.memory?.[name];
    if (value === undefined) continue;
    claim(field);
    for (const target of targets) target.memory = { ...(target.memory ?? message(LinuxMemory)), [name]: value };
  }
  for (const [name, field] of entriesOf(CPU_FIELDS)) {
    const value = wanted.cpu?.[name];
    if (value === undefined || value === "") continue;
    claim(field);
    for (const target of targets) target.cpu = { ...(target.cpu ?? message(LinuxCPU)), [name]: value };
  }
  mergeRest(wanted, { targets, claim });
}

function mergeRest(
  wanted: LinuxResources,
  { targets, claim }: { readonly targets: readonly LinuxResources[]; readonly claim: Claim },
): void {
  for (const limit of wanted.hugepageLimits) {
    claim(Field.HugepageLimits, limit.pageSize);
    for (const target of targets) {
      target.hugepageLimits = [...target.hugepageLimits.filter(({ pageSize }) => pageSize !== limit.pageSize), limit];
    }
  }
  for (const target of targets) target.devices = [...target.devices, ...wanted.devices];
  for (const [key, value] of wanted.unified) {
    claim(Field.CgroupsUnified, key);
    for (const target of targets) target.unified = new Map(target.unified).set(key, value);
  }
  const { blockioClass, rdtClass, pids } = wanted;
  if (blockioClass !== undefined) {
    claim(Field.BlockioClass);
    for (const target of targets) target.blockioClass = blockioClass;
  }
  if (rdtClass !== undefined) {
    claim(Field.RdtClass);
    for (const target of targets) target.rdtClass = rdtClass;
  }
  if (pids !== undefined) {
    claim(Field.PidsLimit);
    for (const target of targets) target.pids = pids;
  }
}

function entriesOf<T extends object>(table: T): Array<[keyof T, T[keyof T]]> {
  return Object.entries(table) as Array<[keyof T, T[keyof T]]>;
}
