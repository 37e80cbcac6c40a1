import { type Clock, systemClock, within } from "../base/clock.ts";
import { messageOf, NotFoundError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { runCommand } from "../linux/command.ts";
import type { Usage } from "./types.ts";

/** A measured tree is not measured again within this time. */
const FRESH_MS = 10_000;
/** Who asks regularly gets the last measurement while the next one runs; after this time it is worth a short wait. */
const STALE_MS = 30_000;
const STALE_WAIT_MS = 80;
const MEASURE_TIMEOUT_MS = 120_000;
/** Directories of one du: far below the limit of a command line. */
const BATCH = 256;

interface Measured {
  readonly usage: Usage;
  readonly atMs: number;
}

/**
 * Measures directory trees with du(1) in a child, many at a time: walking them in this process would cost its event
 * loop thirty microseconds per file. Answers are remembered; an old one is given while the next is measured.
 */
export class UsageMeter implements AsyncDisposable {
  readonly #known = new Map<string, Measured>();
  readonly #wanted = new Set<string>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(
    private readonly logger: Logger,
    private readonly clock: Clock = systemClock,
  ) {}

  /**
   * What a tree takes, at most some seconds ago; the first answer waits for the measurement.
   *
   * @throws NotFoundError when there is no such directory
   */
  async measure(path: string): Promise<Usage> {
    const known = this.#known.get(path);
    const ageMs = known === undefined ? Infinity : this.clock.monotonicMs() - known.atMs;
    if (known !== undefined && ageMs < FRESH_MS) return known.usage;
    const run = this.#request(path);
    if (known !== undefined && ageMs < STALE_MS) return known.usage;
    await (known === undefined ? run : within(run, STALE_WAIT_MS));
    const usage = this.#known.get(path)?.usage;
    if (usage === undefined) throw new NotFoundError("directory", path);
    return usage;
  }

  /** What is known of a tree that never changes; measured in the background when it is not. */
  peek(path: string): Usage | undefined {
    const known = this.#known.get(path);
    if (known === undefined) this.#request(path);
    return known?.usage;
  }

  /** Forgets all trees but these. */
  retain(paths: ReadonlySet<string>): void {
    for (const path of this.#known.keys()) if (!paths.has(path)) this.#known.delete(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Resolves when `path` was measured, or could not be. */
  async #request(path: string): Promise<void> {
    this.#wanted.add(path);
    while (this.#wanted.has(path) && !this.#stop.signal.aborted) {
      this.#running ??= this.#run().finally(() => this.#running = undefined);
      await this.#running;
    }
  }

  async #run(): Promise<void> {
    // Requests of the same turn go together.
    await Promise.resolve();
    const paths = [...this.#wanted].slice(0, BATCH);
    const atNanos = this.clock.nowNanos();
    try {
      const [bytes, inodes] = await Promise.all([this.#du("--block-size=1", paths), this.#du("--inodes", paths)]);
      for (const path of paths) {
        const usage = { bytes: bytes.get(path), inodes: inodes.get(path) };
        if (usage.bytes === undefined || usage.inodes === undefined) this.#known.delete(path);
        else {this.#known.set(path, {
            usage: { bytes: usage.bytes, inodes: usage.inodes, atNanos },
            atMs: this.clock.monotonicMs(),
          });}
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.logger.warn("cannot measure layers", { error: messageOf(error) });
    } finally {
      for (const path of paths) this.#wanted.delete(path);
    }
  }

  async #du(unit: string, paths: readonly string[]): Promise<Map<string, number>> {
    // "|| true": du ends with 1 when files vanish below it, or a directory is gone; its lines count all the same.
    const script = 'du -s -x -0 "$@" 2>/dev/null || true';
    const argv = ["/bin/sh", "-c", script, "du", unit, "--", ...paths];
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(MEASURE_TIMEOUT_MS)]);
    const { stdout } = await runCommand(argv, { signal });
    const values = new Map<string, number>();
    for (const line of new TextDecoder().decode(stdout).split("\0")) {
      const tab = line.indexOf("\t");
      if (tab > 0) values.set(line.slice(tab + 1), Number(line.slice(0, tab)));
    }
    return values;
  }
}
