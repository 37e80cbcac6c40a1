import { sleep } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** Quiet time after the last event; installers write several files at once. */
const DEBOUNCE_MS = 50;
/** So that a directory which never comes to rest is still looked at once a second. */
const MAX_DEBOUNCE_ROUNDS = 20;
/** Pause before the next try when the kernel gives no watch (its limits are reached). */
const RETRY_MS = 5_000;

export interface WatchOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Called after each burst of changes, and once whenever the watch had to be set up again. Never concurrently. */
  readonly onChange: () => Promise<void>;
}

/**
 * Watches directories until the signal aborts, and then resolves. A directory that is missing, removed or replaced is
 * found again when it appears: its nearest existing ancestor is watched meanwhile.
 */
export async function watchDirectories(directories: readonly string[], options: WatchOptions): Promise<void> {
  const { signal, logger, onChange } = options;
  while (!signal.aborted) {
    try {
      await watchOnce(directories, { signal, onChange });
    } catch (error) {
      if (signal.aborted) return;
      logger.warn("cannot watch the CNI directories; looking at them every 5 seconds", { error: messageOf(error) });
      await sleep(RETRY_MS, { signal }).catch(() => undefined);
    }
  }
}

/** One set of watches; returns when a directory of it came, went or was replaced. */
async function watchOnce(
  directories: readonly string[],
  options: Pick<WatchOptions, "signal" | "onChange">,
): Promise<void> {
  const { signal, onChange } = options;
  const targets = await Promise.all(directories.map(nearest));
  signal.throwIfAborted();
  using events = new Events(targets.map(({ path }) => path));
  const close = (): void => events[Symbol.dispose]();
  signal.addEventListener("abort", close, { once: true });
  try {
    // What happened between the caller's last look and the watch.
    await onChange();
    while (await events.next({ signal })) {
      const now = await Promise.all(directories.map(nearest));
      if (now.some(({ identity }, i) => identity !== targets[i]?.identity)) return;
      if (now.some(({ isTarget }) => isTarget)) await onChange();
    }
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** File system events as bursts. */
class Events implements Disposable {
  readonly #watcher: Deno.FsWatcher;
  #isDirty = false;
  #isOpen = true;
  #wake = Promise.withResolvers<void>();

  constructor(paths: readonly string[]) {
    this.#watcher = Deno.watchFs([...new Set(paths)], { recursive: false });
    this.#pump().catch(() => this[Symbol.dispose]());
  }

  /** Waits for a burst and its end; false when the watch was closed. */
  async next(options: { readonly signal: AbortSignal }): Promise<boolean> {
    if (this.#isOpen && !this.#isDirty) await this.#wake.promise;
    for (let round = 0; this.#isDirty && this.#isOpen && round < MAX_DEBOUNCE_ROUNDS; round++) {
      this.#isDirty = false;
      await sleep(DEBOUNCE_MS, options);
    }
    return this.#isOpen;
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#watcher.close();
    this.#wake.resolve();
  }

  async #pump(): Promise<void> {
    for await (const { kind } of this.#watcher) {
      // Our own reading makes "access" events.
      if (kind === "access") continue;
      this.#isDirty = true;
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    }
    this[Symbol.dispose]();
  }
}

interface Target {
  readonly path: string;
  readonly isTarget: boolean;
  /** Changes when another directory is there under the same name. */
  readonly identity: string;
}

/** The directory itself, or its nearest ancestor that exists. */
async function nearest(directory: string): Promise<Target> {
  const wanted = directory.replace(/(.)\/+$/, "$1");
  for (let path = wanted;; path = path.slice(0, path.lastIndexOf("/")) || "/") {
    const info = await Deno.stat(path).catch(() => undefined);
    if (info?.isDirectory === true) {
      return { path, isTarget: path === wanted, identity: `${path}:${info.dev}:${info.ino}` };
    }
    if (path === "/") throw new Deno.errors.NotFound(directory);
  }
}
