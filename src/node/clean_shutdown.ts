import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";
import { runCommand } from "../linux/command.ts";

const SYNC_LIMIT_MS = 120_000;
const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/**
 * `clean_shutdown_file`: it is there exactly while no daemon runs and everything that the last one wrote is on the disk.
 * `<file>.supported` tells the first start ever from one after a crash, and holds the kernel's id of the boot.
 */
export class CleanShutdown implements AsyncDisposable {
  #finished = false;

  /** Whether the daemon before this one ended without {@link finish}. */
  readonly wasUnclean: boolean;
  /** Whether the node went down with it: what was not synced is lost. */
  readonly wasPowerCut: boolean;

  private constructor(
    private readonly options: { readonly path: string; readonly roots: readonly string[]; readonly log: Logger },
    found: { readonly wasUnclean: boolean; readonly wasPowerCut: boolean },
  ) {
    this.wasUnclean = found.wasUnclean;
    this.wasPowerCut = found.wasPowerCut;
  }

  /**
   * Takes the mark away: from now on a crash shows.
   *
   * @param options.path empty: no mark is kept, and no shutdown counts as unclean
   * @param options.roots directories of the store, which may be on several file systems
   */
  static async begin(
    options: {
      readonly path: string;
      readonly roots: readonly string[];
      readonly log: Logger;
      readonly bootId?: string;
    },
  ): Promise<CleanShutdown> {
    const { path } = options;
    const { bootId = await Deno.readTextFile(BOOT_ID) } = options;
    if (path === "") return new CleanShutdown(options, { wasUnclean: false, wasPowerCut: false });
    await Deno.mkdir(path.replace(/\/[^/]*$/, "") || "/", { recursive: true });
    const lastBootId = await Deno.readTextFile(`${path}.supported`).catch(() => undefined);
    const wasUnclean = lastBootId !== undefined && !await isThere(path);
    // CRI-O leaves the file empty.
    const wasPowerCut = wasUnclean && lastBootId !== "" && lastBootId !== bootId;
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    // Syncs the directory, and so the removal: after a power cut the mark must not be back.
    await writeFileAtomic(`${path}.supported`, new TextEncoder().encode(bootId));
    if (wasPowerCut) {
      options.log.warn(
        "The node went down without a clean shutdown: files of images that were pulled shortly before may be incomplete; " +
          "`crio check` compares all files of the store, beside a running daemon too",
      );
    }
    return new CleanShutdown(options, { wasUnclean, wasPowerCut });
  }

  /** The daemon has ended as it should: disposing, once everything else is closed, sets the mark. */
  finish(): void {
    this.#finished = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { path, roots, log } = this.options;
    if (!this.#finished || path === "") return;
    try {
      await runCommand(["/usr/bin/env", "sync", "--file-system", ...roots], {
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
