import { basename } from "node:path";
import { AlreadyExistsError, InvalidArgumentError } from "../base/errors.ts";
import { type HostPath, parseHostPath, randomHex } from "../base/ids.ts";
import { ErrnoError } from "../linux/errno.ts";
import { spreadSubdirectories } from "../linux/file_flags.ts";
import { RecordLockFile } from "../linux/record_lock.ts";
import type { StoreRoot } from "./_root.ts";
import { codeOf, makeDirectory, removeTree } from "./_trees.ts";
import type { LayerStage } from "./types.ts";
import { entryExists } from "../linux/exists.ts";

/** containers/storage knows this name and leaves directories alone whose lock is held. */
const LOCK_FILE = "staging.lock";
const REAP_FILE = "reap.json";
/** Ours are told from those of other programs by the name. */
const STAGE_NAME = /^crio-[0-9a-f]{16}$/;
const MAX_LAYERS = 1000;
/** A stage without a lock file is being made, or its maker died at that moment: who only looks takes it for the former. */
const GRACE_MS = 60_000;
const ATTEMPTS = 5;

/**
 * A directory of this process in the store's place for stages. Its lock is held while this object lives; when the
 * process dies the kernel frees it, and {@link abandonedStages} finds it.
 */
export class Stage implements LayerStage {
  readonly directory: HostPath;
  readonly #lock: RecordLockFile;
  #disposed = false;

  private constructor(directory: string, lock: RecordLockFile) {
    this.directory = parseHostPath(directory);
    this.#lock = lock;
  }

  static async create(root: StoreRoot): Promise<Stage> {
    for (let attempt = 1;; attempt++) {
      try {
        return await Stage.#make(root);
      } catch (error) {
        // A sweep took it before its lock was held, see `takeOverUnlocked`.
        const isTaken = error instanceof AlreadyExistsError || codeOf(error) === "ENOENT";
        if (!isTaken || attempt === ATTEMPTS) throw error;
      }
    }
  }

  static async #make(root: StoreRoot): Promise<Stage> {
    const directory = `${root.staging}/crio-${randomHex(8)}`;
    await makeDirectory(directory, 0o700);
    const lock = RecordLockFile.open(`${directory}/${LOCK_FILE}`);
    try {
      if (!lock.tryLock("write")) throw new AlreadyExistsError(`stage ${directory} is locked by another process`);
      await makeDirectory(`${directory}/layers`, 0o700);
      spreadLayers(`${directory}/layers`);
    } catch (error) {
      lock[Symbol.dispose]();
      await removeTree(directory);
      throw error;
    }
    return new Stage(directory, lock);
  }

  async layerDirectory(index: number): Promise<HostPath> {
    const diff = `${this.layerRoot(index)}/diff`;
    try {
      await makeDirectory(this.layerRoot(index), 0o700);
      await makeDirectory(diff, 0o555);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
    }
    return parseHostPath(diff);
  }

  tarSplitPath(index: number): HostPath {
    checkIndex(index);
    return parseHostPath(`${this.directory}/${index}.tar-split.gz`);
  }

  /** What becomes `overlay/<id>`. Every stage has other names, for ext4 chooses a place by them. */
  layerRoot(index: number): string {
    checkIndex(index);
    return `${this.directory}/layers/${basename(this.directory)}-${index}`;
  }

  /** Notes layers that a crash from now on may leave without an image; the next sweep removes those unused. */
  async noteReap(layerIds: readonly string[]): Promise<void> {
    await Deno.writeTextFile(`${this.directory}/${REAP_FILE}`, JSON.stringify(layerIds));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    using _lock = this.#lock;
    // Whoever looks whether the stage is held may make its lock file again while it is deleted: once more then.
    await removeTree(this.directory).catch(() => removeTree(this.directory));
  }
}

/**
 * Layers are written at the same time, and often just after others were deleted. Without a journal ext4 passes over
 * inodes that were deleted within the last minutes, one by one for every new file: thirty times the CPU of making it.
 */
function spreadLayers(directory: string): void {
  try {
    spreadSubdirectories(directory);
  } catch (error) {
    // Other file systems have no such flag, and no need of it.
    if (!(error instanceof ErrnoError)) throw error;
  }
}

/** A stage whose process is gone. */
export interface AbandonedStage {
  readonly directory: string;
  /** Layers that it had noted. */
  readonly reap: readonly string[];
}

/** Stages of ours that nobody holds. Those of other programs are not touched. */
export async function abandonedStages(root: StoreRoot): Promise<AbandonedStage[]> {
  const places = root.stagingDirectories();
  for (const place of places) await takeOverUnlocked(place);
  return await abandonedStagesIn(places);
}

/**
 * Stages without a lock file: whoever makes one has died before the next call, or is just there. Whoever has the lock then has the
 * stage, and it gets another name: a maker that lives does not find it any more, and makes another.
 */
async function takeOverUnlocked(place: string): Promise<void> {
  for (const name of await stageNames(place)) {
    const directory = `${place}/${name}`;
    try {
      if (await entryExists(`${directory}/${LOCK_FILE}`)) continue;
      using lock = RecordLockFile.open(`${directory}/${LOCK_FILE}`);
      if (lock.tryLock("write")) await Deno.rename(directory, `${place}/crio-${randomHex(8)}`);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
}

/** The same in these directories, which are only looked at. */
export async function abandonedStagesIn(places: readonly string[]): Promise<AbandonedStage[]> {
  const found: AbandonedStage[] = [];
  for (const place of places) {
    for (const name of await stageNames(place)) {
      const directory = `${place}/${name}`;
      if (!await isHeld(directory)) found.push({ directory, reap: await readReap(`${directory}/${REAP_FILE}`) });
    }
  }
  return found;
}

async function stageNames(place: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(place));
    return entries.filter((entry) => entry.isDirectory && STAGE_NAME.test(entry.name)).map((entry) => entry.name);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** Also when it is gone meanwhile: then it was. */
async function isHeld(directory: string): Promise<boolean> {
  const path = `${directory}/${LOCK_FILE}`;
  try {
    if (!await entryExists(path)) {
      const made = (await Deno.lstat(directory)).mtime?.getTime() ?? 0;
      return Date.now() - made < GRACE_MS;
    }
    using lock = RecordLockFile.open(path);
    return !lock.tryLock("write");
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    return true;
  }
}

async function readReap(path: string): Promise<readonly string[]> {
  try {
    const parsed: unknown = JSON.parse(await Deno.readTextFile(path));
    return Array.isArray(parsed) ? parsed.filter((id) => typeof id === "string") : [];
  } catch {
    // Absent as a rule; cut short when the crash came while it was written, which is before any layer.
    return [];
  }
}

function checkIndex(index: number): void {
  if (Number.isInteger(index) && index >= 0 && index < MAX_LAYERS) return;
  throw new InvalidArgumentError(`layer index ${index} is not 0 to ${MAX_LAYERS - 1}`);
}
