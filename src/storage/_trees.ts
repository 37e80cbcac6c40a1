import { messageOf } from "../base/errors.ts";
import { randomHex } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { Semaphore } from "../base/semaphore.ts";
import { CommandError, commandResult, runCommand } from "../linux/command.ts";
import { unmount } from "../linux/mount.ts";
import { isBelow, readMounts } from "../linux/mountinfo.ts";

/** Children that delete at a time: more would only compete for the disk's journal. */
const DELETIONS_AT_ONCE = 2;
/** What is discarded within this time goes with one child, milliseconds: a container has three directories. */
const GATHER_MS = 10;
const RM = ["/usr/bin/env", "rm", "-rf", "--"] as const;

export interface TrashOptions {
  /** Where trees are renamed to; from another file system they are deleted where they are. */
  readonly directory: string;
  readonly rename: (from: string, to: string) => Promise<void>;
  readonly logger: Logger;
}

/**
 * Deletes directory trees in the background: they are renamed into a trash directory at once, so that nobody sees them
 * any more, and deleted by a child.
 */
export class Trash implements AsyncDisposable {
  readonly #running = new Set<Promise<void>>();
  #waiting: string[] = [];
  readonly #places = new Semaphore(DELETIONS_AT_ONCE);

  constructor(private readonly options: TrashOptions) {}

  /** Makes `path` vanish; its content is deleted later. Succeeds when there is nothing. */
  async discard(path: string): Promise<void> {
    const away = await this.#moveAway(path);
    if (away === undefined) return;
    this.#waiting.push(away);
    if (this.#waiting.length > 1) return;
    const work = this.#deleteWaiting().finally(() => this.#running.delete(work));
    this.#running.add(work);
  }

  /** Waits until everything that was discarded is deleted. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settle();
  }

  async #moveAway(path: string): Promise<string | undefined> {
    const away = `${this.options.directory}/trash-${randomHex(8)}`;
    try {
      await this.options.rename(path, away);
      return away;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      if (codeOf(error) !== "EXDEV") throw error;
      return path;
    }
  }

  async #deleteWaiting(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
    using _place = await this.#places.acquire();
    const paths = this.#waiting;
    this.#waiting = [];
    const { exitCode } = await commandResult([...RM, ...paths], { maxOutputBytes: 4096 });
    // Rare: one after the other, so that it is seen which one it is.
    if (exitCode !== 0) { for (const path of paths) await this.#delete(path); }
  }

  async #delete(path: string): Promise<void> {
    try {
      await removeTree(path);
    } catch (error) {
      this.options.logger.warn("cannot delete a discarded directory; the next start tries again", {
        path,
        error: messageOf(error),
      });
    }
  }
}

/**
 * Deletes a tree without following links. Nothing may be mounted below it (see {@link detachBelow}). Entries that are
 * immutable or append-only are made ordinary first.
 *
 * By rm(1), in a child: Deno.remove goes down by recursion, and whoever may write into a container can make directories so deep
 * that its stack overflows, which ends the daemon. A child costs a millisecond of CPU more.
 *
 * @throws CommandError with what rm says
 */
export async function removeTree(path: string): Promise<void> {
  if (await removeSimple(path)) return;
  const argv = [...RM, path];
  const first = await commandResult(argv, { maxOutputBytes: 4096 });
  if (first.exitCode === 0) return;
  if (!new TextDecoder().decode(first.stderr).includes("Operation not permitted")) throw new CommandError(argv, first);
  // Recursive chattr neither follows links nor opens devices; its own failures show in the second attempt.
  await commandResult(["/usr/bin/env", "chattr", "-R", "-f", "-ia", "--", path], { maxOutputBytes: 4096 });
  await runCommand(argv, { maxOutputBytes: 4096 });
}

/** Whether nothing is there any more, without a child. */
async function removeSimple(path: string): Promise<boolean> {
  try {
    await Deno.remove(path);
    return true;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

/**
 * Detaches every mount at or below these directories, latest first: deleting a tree with a mount inside would delete
 * what is mounted.
 */
export async function detachBelow(directories: readonly string[]): Promise<void> {
  const mounts = await readMounts();
  for (const mount of mounts.reverse()) {
    if (directories.some((directory) => isBelow(mount.mountPoint, directory))) {
      await unmount(mount.mountPoint, { detach: true });
    }
  }
}

/** Makes a directory with exactly this mode, whatever the umask. */
export async function makeDirectory(path: string, mode: number): Promise<void> {
  await Deno.mkdir(path, { mode });
  // No umask of a daemon takes bits from the owner.
  if ((mode & 0o7077) !== 0) await Deno.chmod(path, mode);
}

/** Waits for all of them, then throws the first failure. */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}

/** The symbolic error number of a failed file operation. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}
