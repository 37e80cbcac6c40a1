import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type Annotations, annotationValue } from "../config/annotations.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import { SeccompNotifiers } from "../security/seccomp/notifiers.ts";
import type { OciSeccomp } from "../security/seccomp/resolve.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { ContainerRecord } from "./types.ts";

const STOP_LIMIT_MS = 60_000;

export interface SeccompWatchDeps {
  readonly records: RecordStore<ContainerRecord>;
  /** The daemon's socket: those for filters lie beside it, in `seccomp/`. */
  readonly listen: string;
  readonly log: Logger;
  /** Counts a forbidden call. */
  readonly count: (containerName: string, call: string) => void;
  /** Stops a container without delay. */
  readonly stop: (id: string, options: { timeoutMs: number; signal: AbortSignal }) => Promise<void>;
}

/** The watch over containers whose pod asks to be told what its seccomp profile forbids. */
export function openSeccompNotifiers(deps: SeccompWatchDeps): SeccompNotifiers {
  const { records, listen, log, count } = deps;
  return new SeccompNotifiers({
    directory: `${listen.slice(0, listen.lastIndexOf("/"))}/seccomp`,
    log,
    onCall: (id, name) => count(records.get(id)?.name ?? id, name),
    onStop: (id, message) => {
      stopForbidden(deps, { id, message }).catch((error) => {
        log.error(`stopping a container that used forbidden system calls failed: ${messageOf(error)}`, {
          container: id,
        });
      });
    },
  });
}

async function stopForbidden(
  { records, log, stop }: SeccompWatchDeps,
  { id, message }: { readonly id: string; readonly message: string },
): Promise<void> {
  const isAlive = (state: ContainerRecord["state"] | undefined): boolean => state === "running" || state === "paused";
  if (!isAlive(records.get(id)?.state)) return;
  log.info(`stopping a container that used forbidden system calls: ${message}`, { container: id });
  await records.update(id, (now) => isAlive(now.state) ? { ...now, seccompKilled: true, message } : now);
  await stop(id, { timeoutMs: 0, signal: AbortSignal.timeout(STOP_LIMIT_MS) });
}

/** The specification with a filter that asks this daemon, where an annotation wants that and there is a filter. */
export function withSeccompNotifier(
  oci: OciSpec,
  { id, annotations, notifiers }: {
    readonly id: string;
    readonly annotations: Annotations;
    readonly notifiers: Pick<SeccompNotifiers, "watch"> | undefined;
  },
): OciSpec {
  const action = annotationValue(annotations, "seccompNotifierAction");
  const { seccomp } = oci.linux;
  if (action === undefined || seccomp === undefined || notifiers === undefined) return oci;
  const watched = notifiers.watch(id, seccomp as OciSeccomp, { stops: action === "stop" });
  return { ...oci, linux: { ...oci.linux, seccomp: watched } };
}
