import type { OperationContext } from "../base/joint_operations.ts";
import type { SandboxDeps } from "./deps.ts";
import { detachNetwork, releaseHost } from "./teardown.ts";
import type { SandboxRecord } from "./types.ts";

/**
 * Stops a pod: no new containers, all containers ended, network detached, namespaces let go. Repeatable: what failed
 * is tried again by the next call.
 */
export async function stopSandbox(
  deps: SandboxDeps,
  record: SandboxRecord,
  context: OperationContext,
): Promise<void> {
  context.stage("stopping its containers and its network");
  const marked = await deps.records.update(
    record.id,
    (now) => now.state === "ready" ? { ...now, state: "not_ready" } : now,
  );
  if (marked === undefined) return;
  const containers = await deps.containers.ofSandbox(record.id);
  // The kubelet has stopped the containers before: their stop and the network's go on side by side.
  const results = await Promise.allSettled([
    detachNetwork(deps, marked),
    ...containers.map((container) =>
      deps.containers.stop(container.id, { timeoutMs: deps.stopTimeoutMs, signal: context.signal })
    ),
  ]);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  context.stage("telling plugins");
  await deps.plugins?.stopped(deps.records.get(record.id) ?? marked);
  context.stage("releasing its namespaces");
  await releaseHost(deps, deps.records.get(record.id) ?? marked);
}
