import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { OwnedFd } from "../../linux/pipe.ts";
import {
  acceptFilter,
  callName,
  filterState,
  listenForFilters,
  receiveFilter,
  refuseCall,
  takeCall,
} from "../../linux/seccomp_notify.ts";
import type { OciSeccomp } from "./resolve.ts";

/** A filter's descriptor cannot be awaited on the event loop; a forbidden call waits this long for its answer at most. */
const LOOK_MS = 20;
/** From the last forbidden call to the end of a container that is to be stopped. */
const STOP_AFTER_MS = 5000;
const NOTIFY = "SCMP_ACT_NOTIFY";
const FORBIDS: ReadonlySet<string> = new Set(
  ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"],
);

export interface NotifierOptions {
  /** Where sockets are made, one for each container that is watched. */
  readonly directory: string;
  readonly log: Logger;
  /** Told of each call that a container's filter forbids. */
  readonly onCall: (id: string, name: string) => void;
  /** Told five seconds after the last forbidden call of a container that is to be stopped. */
  readonly onStop: (id: string, message: string) => void;
  readonly stopAfterMs?: number;
}

interface Watch {
  readonly path: string;
  readonly listener: OwnedFd;
  readonly connections: Set<OwnedFd>;
  readonly filters: Set<OwnedFd>;
  /** How often each call was made. */
  readonly calls: Map<string, number>;
  readonly stops: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

/** Watches containers whose pod asks what their seccomp profile forbids: each forbidden call is told and answered ENOSYS. */
export class SeccompNotifiers implements Disposable {
  readonly #watches = new Map<string, Watch>();
  #looking: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: NotifierOptions) {}

  /**
   * Begins to watch a container, and gives its profile with every rule that forbids turned into one that asks here. The
   * default action of a profile cannot be turned.
   *
   * @param request.stops whether the container ends after its last forbidden call
   * @throws ErrnoError
   */
  watch(id: string, profile: OciSeccomp, request: { readonly stops: boolean }): OciSeccomp {
    const { directory, log } = this.options;
    if (FORBIDS.has(profile.defaultAction)) {
      log.info("calls that the seccomp profile forbids by its default action are not told", { container: id });
    }
    this.close(id);
    Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = `${directory}/${id}`;
    const listener = listenForFilters(path);
    const empty = { connections: new Set<OwnedFd>(), filters: new Set<OwnedFd>(), calls: new Map<string, number>() };
    this.#watches.set(id, { path, listener, stops: request.stops, ...empty });
    if (this.#looking === undefined) {
      this.#looking = setInterval(() => this.#look(), LOOK_MS);
      // A watch does not keep the daemon from ending; the kernel then answers for it.
      Deno.unrefTimer(this.#looking);
    }
    const syscalls = (profile.syscalls ?? []).map((rule) => {
      if (!FORBIDS.has(rule.action)) return rule;
      const { errnoRet: _errno, ...rest } = rule;
      return { ...rest, action: NOTIFY };
    });
    return { ...profile, syscalls, listenerPath: path };
  }

  /** Ends a watch; succeeds when there is none. Calls that wait are answered by the kernel. */
  close(id: string): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) {
      // One that a daemon before this one began.
      removeSocket(`${this.options.directory}/${id}`);
      return;
    }
    this.#watches.delete(id);
    clearTimeout(watch.timer);
    for (const fd of [watch.listener, ...watch.connections, ...watch.filters]) fd.close();
    removeSocket(watch.path);
    if (this.#watches.size > 0) return;
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  [Symbol.dispose](): void {
    for (const id of [...this.#watches.keys()]) this.close(id);
  }

  #look(): void {
    for (const [id, watch] of [...this.#watches]) {
      try {
        this.#accept(id, watch);
        for (const filter of [...watch.filters]) this.#answer(id, watch, filter);
      } catch (error) {
        this.options.log.error(`watching a seccomp filter failed: ${messageOf(error)}`, { container: id });
        this.close(id);
      }
    }
  }

  #accept(id: string, watch: Watch): void {
    for (let next = acceptFilter(watch.listener); next !== undefined; next = acceptFilter(watch.listener)) {
      watch.connections.add(next);
    }
    for (const connection of [...watch.connections]) {
      try {
        const filter = receiveFilter(connection);
        if (filter === undefined) continue;
        watch.filters.add(filter);
      } catch (error) {
        this.options.log.warn(`a message to a seccomp socket is of no use: ${messageOf(error)}`, { container: id });
      }
      watch.connections.delete(connection);
      connection.close();
    }
  }

  #answer(id: string, watch: Watch, filter: OwnedFd): void {
    let state = filterState(filter);
    for (; state === "waiting"; state = filterState(filter)) {
      const call = takeCall(filter);
      if (call === undefined) continue;
      refuseCall(filter, call);
      this.#note(id, watch, callName(call));
    }
    if (state === "idle") return;
    watch.filters.delete(filter);
    filter.close();
  }

  #note(id: string, watch: Watch, name: string): void {
    const { log, onCall, onStop, stopAfterMs = STOP_AFTER_MS } = this.options;
    watch.calls.set(name, (watch.calls.get(name) ?? 0) + 1);
    log.info(`container used a forbidden system call: ${name}`, { container: id });
    onCall(id, name);
    if (!watch.stops) return;
    clearTimeout(watch.timer);
    watch.timer = setTimeout(() => onStop(id, `Used forbidden syscalls: ${summary(watch.calls)}`), stopAfterMs);
    Deno.unrefTimer(watch.timer);
  }
}

function removeSocket(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** `chmod (1x), mkdir (3x)`. */
function summary(calls: ReadonlyMap<string, number>): string {
  return [...calls].map(([name, count]) => `${name} (${count}x)`).sort().join(", ");
}
