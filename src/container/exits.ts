import type { ContainerId } from "../base/ids.ts";
import { abortable } from "../base/keyed_mutex.ts";
import type { Logger } from "../base/logger.ts";
import type { RecordStore } from "../state/record_store.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord } from "./types.ts";

/** The end of a container's init process, as its monitor wrote it down. */
export interface ContainerExit {
  readonly id: string;
  readonly exitCode: number;
  readonly finishedAtNanos: bigint;
  readonly oomKilled: boolean;
  /** What there is to say when nobody saw the end. */
  readonly message?: string;
}

/** The one door through which ends of containers come in, and where those that await one stand. */
export class ContainerExits {
  readonly #waiting = new Map<string, PromiseWithResolvers<void>>();
  readonly #listeners = new Map<string, Set<() => void>>();

  constructor(private readonly deps: { records: RecordStore<ContainerRecord>; log: Logger }) {}

  /** Records an end once; later reports of the same container change nothing. */
  async handle(exit: ContainerExit): Promise<void> {
    const { records, log } = this.deps;
    const before = records.get(exit.id);
    if (before === undefined || before.state === "exited" || before.state === "creating") return;
    await records.update(exit.id, (record) => {
      if (record.state === "exited") return record;
      return transition(record, "exit", {
        exitCode: exit.exitCode,
        finishedAtNanos: laterOf(String(exit.finishedAtNanos), record.startedAtNanos),
        oomKilled: exit.oomKilled,
        seccompKilled: record.seccompKilled || isSeccompKill(record, exit),
        ...(exit.message === undefined ? {} : { message: exit.message }),
      });
    });
    log.debug("container ended", { container: exit.id, exitCode: exit.exitCode, oomKilled: exit.oomKilled });
    this.#waiting.get(exit.id)?.resolve();
    this.#waiting.delete(exit.id);
    for (const listener of this.#listeners.get(exit.id) ?? []) listener();
    this.#listeners.delete(exit.id);
  }

  /** Resolves when the container's record says that it ended, or is gone. */
  async wait(id: ContainerId, options: { signal: AbortSignal }): Promise<void> {
    const record = this.deps.records.get(id);
    if (record === undefined || record.state === "exited") return;
    const waiting = this.#waiting.get(id) ?? Promise.withResolvers<void>();
    this.#waiting.set(id, waiting);
    await abortable(waiting.promise, options.signal);
  }

  /**
   * Calls `listener` once when the container ends, at once when it has ended or is gone. For those who come and go many
   * times in a container's life: a given-up `wait` leaves something behind until its end, a disposed listener nothing.
   */
  onEnd(id: ContainerId, listener: () => void): Disposable {
    const record = this.deps.records.get(id);
    if (record === undefined || record.state === "exited") {
      listener();
      return { [Symbol.dispose]: (): void => {} };
    }
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(listener));
    return {
      [Symbol.dispose]: (): void => {
        listeners.delete(listener);
        if (listeners.size === 0 && this.#listeners.get(id) === listeners) this.#listeners.delete(id);
      },
    };
  }
}

/** 128 and the number of SIGSYS: how a monitor writes down that the filter killed the init process. */
const SECCOMP_EXIT_CODE = 128 + 31;

function isSeccompKill(record: ContainerRecord, exit: ContainerExit): boolean {
  return record.seccompProfile !== undefined && exit.exitCode === SECCOMP_EXIT_CODE;
}

/**
 * The later of two times in decimal nanoseconds. An exit file's time comes from the kernel's coarse clock, some
 * milliseconds behind: a short container must not end before it began.
 */
export function laterOf(a: string, b: string): string {
  return BigInt(a) > BigInt(b) ? a : b;
}
