import { messageOf } from "./base/errors.ts";
import type { Logger } from "./base/logger.ts";
import { writeFileAtomic } from "./linux/atomic_file.ts";
import { runCommand } from "./linux/command.ts";

const SYNC_LIMIT_MS = 120_000;

/**
 * `clean_shutdown_file`: it is there exactly while no daemon runs and everything that the last one wrote is on the disk.
 * `<file>.supported` tells the first start ever from one after a crash.
 */
export class CleanShutdown implements AsyncDisposable {
  #finished = false;

  private constructor(
    private readonly options: { readonly path: string; readonly graphRoot: string; readonly log: Logger },
    /** Whether the daemon before this one ended without {@link finish}. */
    readonly wasUnclean: boolean,
  ) {}

  /**
   * Takes the mark away: from now on a crash shows.
   *
   * @param options.path empty: no mark is kept, and no shutdown counts as unclean
   */
  static async begin(
    options: { readonly path: string; readonly graphRoot: string; readonly log: Logger },
  ): Promise<CleanShutdown> {
    const { path } = options;
    if (path === "") return new CleanShutdown(options, false);
    await Deno.mkdir(path.replace(/\/[^/]*$/, "") || "/", { recursive: true });
    const wasUnclean = await isThere(`${path}.supported`) && !await isThere(path);
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    // Syncs the directory, and so the removal: after a power cut the mark must not be back.
    await writeFileAtomic(`${path}.supported`, new Uint8Array());
    return new CleanShutdown(options, wasUnclean);
  }

  /** The daemon has ended as it should: disposing, once everything else is closed, sets the mark. */
  finish(): void {
    this.#finished = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { path, graphRoot, log } = this.options;
    if (!this.#finished || path === "") return;
    try {
      await runCommand(["/usr/bin/env", "sync", "--file-system", graphRoot], {
        signal: AbortSignal.timeout(SYNC_LIMIT_MS),
      });
      await writeFileAtomic(path, new Uint8Array());
    } catch (error) {
      log.warn(`the clean shutdown cannot be noted, the next start checks the store: ${messageOf(error)}`, { path });
    }
  }
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
