import { atStage, FailedPreconditionError, messageOf } from "../base/errors.ts";
import type { ResourceLimits } from "../base/resources.ts";
import { type LimitContext, ociLimits } from "../oci/spec/resources.ts";
import type { OciResources } from "../oci/spec/types.ts";
import type { ContainerDeps } from "./deps.ts";
import { changedLimits, mergedLimits, previousLimits } from "./limits.ts";
import { withSharedCpus } from "./performance.ts";
import type { ContainerRecord } from "./types.ts";

/** A runtime sets limits in milliseconds; this is for one that hangs. */
const UPDATE_LIMIT_MS = 60_000;

/** Who has a say when a container's limits are changed by its client: the NRI's plugins. */
export interface UpdateHooks {
  /** Gives the limits to set, which need not be those that were asked for. What it throws refuses the change. */
  updating(
    record: ContainerRecord,
    limits: ResourceLimits,
    options: { signal: AbortSignal },
  ): Promise<ResourceLimits>;
  /** The change is done and recorded. */
  updated(record: ContainerRecord): void;
}

/**
 * Changes limits of a container that has not ended, for its client. Limits that are not named stay.
 *
 * @throws FailedPreconditionError for a wrong state, or a memory limit below what is in use; InvalidArgumentError for
 * limits that this node cannot set; RuntimeError. After a failure everything is as before
 */
export async function updateContainer(
  deps: ContainerDeps,
  record: ContainerRecord,
  request: { limits: ResourceLimits; signal: AbortSignal },
): Promise<void> {
  checkUpdatable(record);
  const { updateHooks } = deps;
  const { signal } = request;
  const limits = await updateHooks?.updating(record, request.limits, { signal }) ?? request.limits;
  await changeLimits(deps, record, limits);
  const after = deps.records.get(record.id);
  if (after !== undefined) updateHooks?.updated(after);
}

/**
 * Changes limits without asking anybody: for whoever has asked already.
 *
 * @throws as {@link updateContainer}
 */
export async function changeLimits(
  deps: ContainerDeps,
  record: ContainerRecord,
  limits: ResourceLimits,
): Promise<void> {
  checkUpdatable(record);
  const runtime = deps.runtimes.find(record.runtimeHandler);
  const asked = withSharedCpus(limits, record.performance);
  const change = changedLimits(record.resources, asked, deps.node);
  const context: LimitContext = { ...deps.node, minMemoryBytes: runtime.minMemoryBytes };
  const resources = ociLimits(change, context);
  if (Object.keys(mergedLimits({}, change)).length === 0) return;
  await refuseBelowUsage(deps, record, resources);
  await applyOrRestore(deps, record, { change, resources });
  await deps.records.update(record.id, (now) => ({ ...now, resources: mergedLimits(now.resources, change) }));
}

function checkUpdatable({ id, state }: ContainerRecord): void {
  if (state === "created" || state === "running") return;
  throw new FailedPreconditionError(`update container ${id}: it is ${state}, neither created nor running`);
}

/** The kernel would begin to kill: KEP-1287 wants such a decrease refused, and the kubelet tries again later. */
async function refuseBelowUsage(deps: ContainerDeps, record: ContainerRecord, { memory }: OciResources): Promise<void> {
  const limit = memory?.limit;
  if (limit === undefined || limit < 0) return;
  const used = await deps.cgroups.memoryUsageBytes(record.cgroupParent, record.id);
  if (used === undefined || used <= limit) return;
  throw new FailedPreconditionError(
    `update container ${record.id}: it uses ${used} bytes of memory, more than the limit of ${limit} that is asked ` +
      "for; try again when it uses less",
  );
}

/** Runtimes set one limit after the other: when one is refused, those before it are taken back. */
async function applyOrRestore(
  deps: ContainerDeps,
  record: ContainerRecord,
  { change, resources }: { change: ResourceLimits; resources: OciResources },
): Promise<void> {
  const { cgroupParent: parent, id } = record;
  const runtime = deps.runtimes.find(record.runtimeHandler);
  const restore = await deps.cgroups.holdLimits(parent, id, change);
  try {
    if (Object.keys(resources).length > 0) {
      await runtime.update(id, resources, { signal: AbortSignal.timeout(UPDATE_LIMIT_MS) });
    }
    await deps.cgroups.finishLimits(parent, id, change);
  } catch (error) {
    const before = ociLimits(previousLimits(record.resources, change), { ...deps.node, minMemoryBytes: 0 });
    // By the runtime for systemd's sake, which keeps values of its own; then by the files, which are exact.
    await runtime.update(id, before, { signal: AbortSignal.timeout(UPDATE_LIMIT_MS) }).catch((left) => {
      deps.log.debug(`limits before a failed update: ${messageOf(left)}`, { container: id });
    });
    for (const file of await restore()) {
      deps.log.warn(`a limit stays changed after a failed update: ${file}`, { container: id });
    }
    throw atStage(`update container ${id}`, error);
  }
}
