import { UnimplementedError } from "../base/errors.ts";
import { withCdiDevices } from "../container/cdi.ts";
import { mergedLimits } from "../container/limits.ts";
import type { AdjustedContainer, Creation } from "../container/plugins.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { ContainerAdjustment } from "../nri/gen/nri.ts";
import { adjustSpec } from "./adjust_spec.ts";

/**
 * A container that is about to be made, as plugins want it.
 *
 * @throws as {@link adjustSpec} does
 */
export async function adjustContainer(
  { record, pod, spec, deps }: Creation,
  adjustment: ContainerAdjustment,
): Promise<AdjustedContainer> {
  const { node, runtimes, annotations, cdi } = deps;
  const { minMemoryBytes } = runtimes.find(record.runtimeHandler);
  const { spec: adjusted, changed } = await adjustSpec(spec, adjustment, {
    now: record.resources,
    limits: { ...node, minMemoryBytes },
    minOomScoreAdj: node.minOomScoreAdj,
    allowed: (wanted) => {
      const counting = annotations.forContainer(wanted, { ...pod, annotations: {} });
      return Object.fromEntries(Object.entries(wanted).filter(([key]) => Object.hasOwn(counting, key)));
    },
    withCdiDevices: (oci, names) => withCdiDevices(oci, names, cdi),
  });
  return {
    spec: adjusted,
    changes: {
      ...(Object.keys(changed).length === 0 ? {} : { resources: mergedLimits(record.resources, changed) }),
      ...cgroupChanges(record, adjusted.linux.cgroupsPath ?? record.cgroupPath),
    },
  };
}

/** Limits, statistics and removal look for a container by its own name below a parent. */
function cgroupChanges(
  { cgroupPath, id }: ContainerRecord,
  wanted: string,
): Partial<Pick<ContainerRecord, "cgroupPath" | "cgroupParent">> {
  if (wanted === cgroupPath) return {};
  const [, parent] = /^(.*)\/crio-[^/]+$/.exec(wanted) ?? /^([^:]+\.slice):crio:[^:]+$/.exec(wanted) ?? [];
  if (parent !== undefined && wanted.endsWith(id)) return { cgroupPath: wanted, cgroupParent: parent || "/" };
  throw new UnimplementedError(
    `a plugin sets the cgroup ${wanted}: only the parent can be changed, so the path has to end like ${cgroupPath}`,
  );
}
