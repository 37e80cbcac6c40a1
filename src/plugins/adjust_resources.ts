import { UnimplementedError } from "../base/errors.ts";
import type { ResourceLimits } from "../base/resources.ts";
import type { LinuxMemory, LinuxResources } from "../nri/gen/nri.ts";
import { type LimitContext, ociLimits } from "../oci/spec/resources.ts";
import type { OciMemory, OciResources } from "../oci/spec/types.ts";
import { exact } from "./oci_values.ts";
import { limitsOf } from "./resources_message.ts";

/**
 * A container's resources as plugins want them.
 *
 * @param context.now the limits that the container has without them
 * @returns the resources for the runtime, and those limits among them that the CRI knows, which the container's status tells
 * @throws InvalidArgumentError for a limit that this node cannot enforce; UnimplementedError for classes of block I/O
 */
export function adjustResources(
  present: OciResources,
  wanted: LinuxResources,
  { now, limits }: { readonly now: ResourceLimits; readonly limits: LimitContext },
): { resources: OciResources; changed: ResourceLimits } {
  const changed = changedLimits(wanted, { now, limits });
  const { cpu, memory, hugepageLimits = [], unified } = ociLimits(changed, limits);
  const { realtimeRuntime, realtimePeriod } = wanted.cpu ?? {};
  const pages = [...present.hugepageLimits ?? [], ...hugepageLimits].map((page) => [page.pageSize, page] as const);
  const resources: OciResources = {
    ...present,
    devices: [
      ...present.devices ?? [],
      ...wanted.devices.map(({ allow, type, major, minor, access }) => ({
        allow,
        ...(type === "" ? {} : { type }),
        ...(major === undefined ? {} : { major: Number(major.value) }),
        ...(minor === undefined ? {} : { minor: Number(minor.value) }),
        access,
      })),
    ],
    cpu: {
      ...present.cpu,
      ...cpu,
      ...(realtimeRuntime === undefined ? {} : { realtimeRuntime: exact(realtimeRuntime.value) }),
      ...(realtimePeriod === undefined ? {} : { realtimePeriod: exact(realtimePeriod.value) }),
    },
    memory: { ...present.memory, ...memory, ...furtherMemory(wanted.memory) },
    ...(pages.length === 0 ? {} : { hugepageLimits: [...new Map(pages).values()] }),
    ...(unified === undefined ? {} : { unified: { ...present.unified, ...unified } }),
    ...pidsOf(wanted, present),
    ...blockIo(wanted, present),
  };
  return { resources, changed };
}

/** A new memory limit without one for swap allows no swap, as that of a request does. */
function changedLimits(
  wanted: LinuxResources,
  { now, limits }: { readonly now: ResourceLimits; readonly limits: LimitContext },
): ResourceLimits {
  const changed = limitsOf(wanted);
  const { memoryLimitBytes = now.memoryLimitBytes, memorySwapLimitBytes } = changed;
  if (memoryLimitBytes === undefined || !limits.hasSwap) return changed;
  if (changed.memoryLimitBytes === undefined && memorySwapLimitBytes === undefined) return changed;
  return { ...changed, memoryLimitBytes, memorySwapLimitBytes: memorySwapLimitBytes ?? memoryLimitBytes };
}

function furtherMemory(memory: LinuxMemory | undefined): OciMemory {
  if (memory === undefined) return {};
  const { reservation, kernel, kernelTcp, swappiness, disableOomKiller, useHierarchy } = memory;
  return {
    ...(reservation === undefined ? {} : { reservation: exact(reservation.value) }),
    ...(kernel === undefined ? {} : { kernel: exact(kernel.value) }),
    ...(kernelTcp === undefined ? {} : { kernelTCP: exact(kernelTcp.value) }),
    ...(swappiness === undefined ? {} : { swappiness: exact(swappiness.value) }),
    ...(disableOomKiller === undefined ? {} : { disableOOMKiller: disableOomKiller.value }),
    ...(useHierarchy === undefined ? {} : { useHierarchy: useHierarchy.value }),
  };
}

/** A negative limit is none. */
function pidsOf({ pids }: LinuxResources, present: OciResources): Pick<OciResources, "pids"> {
  if (pids !== undefined) return { pids: { limit: pids.limit < 0n ? -1 : exact(pids.limit) } };
  return present.pids === undefined ? {} : { pids: present.pids };
}

function blockIo({ blockioClass }: LinuxResources, present: OciResources): { blockIO?: unknown } {
  if (blockioClass === undefined || blockioClass.value === "") {
    return blockioClass === undefined && present.blockIO !== undefined ? { blockIO: present.blockIO } : {};
  }
  throw new UnimplementedError(`class of block I/O ${JSON.stringify(blockioClass.value)}: not supported yet`);
}
