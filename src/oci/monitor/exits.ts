import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";

/** A container's end, as its monitor wrote it down. */
export interface ContainerExit {
  readonly id: string;
  readonly exitCode: number;
  /** Nanoseconds since the epoch (millisecond steps): when the file was written. */
  readonly finishedAtNanos: bigint;
}

export interface ExitWatcherOptions {
  /** conmon's `--exit-dir`; exists. */
  readonly directory: string;
  readonly log: Logger;
  /** Called once for each id; its failures are logged. */
  readonly onExit: (exit: ContainerExit) => void;
}

/** conmon writes `<id>.XXXXXX` and renames it to `<id>`, so a name without a dot is a whole file. */
const EXIT_FILE = /^[A-Za-z0-9_-]+$/;

/**
 * Watches the directory of exit files (inotify, no polling). Starts watching before it scans what is there, so that
 * no exit is missed; tells each id once, until its file is removed.
 */
export class ExitWatcher implements AsyncDisposable {
  readonly #options: ExitWatcherOptions;
  readonly #watcher: Deno.FsWatcher;
  readonly #seen = new Set<string>();
  readonly #waiting = new Map<string, Set<(exit: ContainerExit) => void>>();
  #done: Promise<void> = Promise.resolve();

  private constructor(options: ExitWatcherOptions) {
    this.#options = options;
    this.#watcher = Deno.watchFs(options.directory, { recursive: false });
  }

  /**
   * Starts, and resolves when all exits that were already there have been told.
   *
   * @throws Error when the directory cannot be read
   */
  static async start(options: ExitWatcherOptions): Promise<ExitWatcher> {
    const watcher = new ExitWatcher(options);
    watcher.#done = watcher.#follow();
    try {
      await watcher.scan();
      return watcher;
    } catch (error) {
      await watcher[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Looks at the whole directory again; for after an overflow of the kernel's queue. */
  async scan(): Promise<void> {
    const present = new Set<string>();
    for await (const entry of Deno.readDir(this.#options.directory)) {
      if (EXIT_FILE.test(entry.name)) present.add(entry.name);
    }
    for (const id of [...present, ...this.#seen.difference(present)]) await this.#look(id);
  }

  /**
   * Resolves with a container's exit, at once when its file is there; `onExit` has been told of it before.
   *
   * @throws the signal's reason
   */
  async wait(id: string, options: { readonly signal?: AbortSignal } = {}): Promise<ContainerExit> {
    const { signal } = options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<ContainerExit>();
    const onAbort = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting.add(resolve));
    const read = this.#look(id).then((exit) => exit !== undefined && resolve(exit), reject);
    try {
      return await promise;
    } finally {
      await read;
      signal?.removeEventListener("abort", onAbort);
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watcher.close();
    await this.#done;
  }

  async #follow(): Promise<void> {
    for await (const event of this.#watcher) {
      try {
        if (event.flag === "rescan") await this.scan();
        if (event.kind === "access") continue; // our own reading
        for (const path of event.paths) {
          const id = path.slice(path.lastIndexOf("/") + 1);
          if (event.kind === "remove") this.#seen.delete(id);
          else if (!this.#seen.has(id)) await this.#look(id);
        }
      } catch (error) {
        this.#options.log.error("cannot read exit files", { error: messageOf(error) });
      }
    }
  }

  /** Reads an id's exit and tells it, the first time. */
  async #look(id: string): Promise<ContainerExit | undefined> {
    if (!EXIT_FILE.test(id)) return undefined;
    const exit = await readExit(this.#options.directory, id);
    if (exit === undefined) this.#seen.delete(id);
    if (exit === undefined || this.#seen.has(id)) return exit;
    this.#seen.add(id);
    try {
      this.#options.onExit(exit);
    } catch (error) {
      this.#options.log.error("cannot handle a container's exit", { id, error: messageOf(error) });
    }
    for (const resolve of this.#waiting.get(id) ?? []) resolve(exit);
    return exit;
  }
}

/** A container's exit from its file; undefined when there is none, or it does not hold a number. */
export async function readExit(directory: string, id: string): Promise<ContainerExit | undefined> {
  if (!EXIT_FILE.test(id)) return undefined;
  const path = `${directory}/${id}`;
  try {
    const [text, info] = await Promise.all([Deno.readTextFile(path), Deno.stat(path)]);
    if (!/^\s*-?\d{1,10}\s*$/.test(text)) return undefined;
    return { id, exitCode: Number(text), finishedAtNanos: BigInt(info.mtime?.getTime() ?? 0) * 1_000_000n };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether the monitor saw the kernel's out-of-memory killer at work in the container. */
export async function wasOomKilled(persistDir: string): Promise<boolean> {
  try {
    await Deno.stat(`${persistDir}/oom`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
