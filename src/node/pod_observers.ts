/**
 * Those who look on when records of pods and containers change: clients of events, and the daemon's own metrics.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { ContainerObserver } from "../metrics/container_metrics.ts";
import type { Pods } from "./operations.ts";
import { PodEvents, type RecordSource } from "../sandbox/pod_events.ts";

/** Time between two lines in the log about clients that miss events. */
const QUIET_MS = 60_000;

/** Running observers; disposing ends them. */
export interface PodObservers extends Disposable {
  /** Absent when events are off. */
  readonly events?: PodEvents;
}

/** @param deps.signal ends the streams of events: they would keep the daemon from stopping */
export function observePods(
  config: Config,
  pods: Pods,
  deps: { readonly metrics: ContainerObserver; readonly log: Logger; readonly signal: AbortSignal },
): PodObservers {
  const observers = new DisposableStack();
  observers.use(countOutOfMemory(pods.records, deps.metrics));
  const end = { [Symbol.dispose]: (): void => observers.dispose() };
  if (!config.runtime.enablePodEvents) return end;
  const events = observers.use(
    new PodEvents({
      containers: pods.records,
      sandboxes: pods.sandboxRecords,
      isStarting: (id) => pods.containers.isStarting(id),
      clock: systemClock,
      onDrop: onDrop(deps),
    }),
  );
  deps.signal.addEventListener("abort", () => events[Symbol.dispose](), { once: true });
  return { ...end, events };
}

/** Counts each event that a client misses, and says so once a minute at most. */
function onDrop({ metrics, log }: { readonly metrics: ContainerObserver; readonly log: Logger }): () => void {
  let quietUntilMs = 0;
  return (): void => {
    metrics.eventDropped();
    if (systemClock.monotonicMs() < quietUntilMs) return;
    quietUntilMs = systemClock.monotonicMs() + QUIET_MS;
    log.warn("a client of GetContainerEvents does not keep up: it misses events");
  };
}

function countOutOfMemory(
  records: Pick<RecordSource<ContainerRecord>, "subscribe">,
  metrics: ContainerObserver,
): Disposable {
  return records.subscribe((record, previous) => {
    if (record === undefined) {
      if (previous !== undefined) metrics.containerRemoved(previous.name);
    } else if (record.state === "exited" && previous?.state !== "exited" && record.oomKilled) {
      metrics.oomKilled(record.name);
    }
  });
}
