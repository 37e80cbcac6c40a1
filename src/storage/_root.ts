import type { Logger } from "../base/logger.ts";
import { messageOf } from "../base/errors.ts";
import { cloneMount, type DetachedMount } from "../linux/mount.ts";
import type { LayerRoot } from "./layout.ts";
import { codeOf } from "./_trees.ts";

/**
 * Renames inside the graph root (or the image store), and the place of stages in it.
 *
 * Stages are below `tmp`, because containers/storage before 1.44 deletes `overlay/staging` whenever podman ends. The
 * layers are behind the bind mount of `overlay`, where a rename from `tmp` ends with EXDEV although it is the same
 * file system: so renames go through a private view of the graph root that does not have the mount.
 */
export class StoreRoot implements Disposable {
  readonly staging: string;

  private constructor(private readonly place: LayerRoot, private readonly plain: DetachedMount | undefined) {
    this.staging = plain === undefined ? `${place.overlay}/staging` : place.temporary;
  }

  /** Where `overlay` is a file system of its own, or the kernel is older than 5.2, stages are inside of it. */
  static async open(place: LayerRoot, logger: Logger): Promise<StoreRoot> {
    const plain = await openPlain(place, logger);
    const root = new StoreRoot(place, plain);
    await Deno.mkdir(root.staging, { recursive: true, mode: 0o700 });
    return root;
  }

  /** Every directory that may hold stages, of this or an earlier process. */
  stagingDirectories(): readonly string[] {
    return [this.place.temporary, `${this.place.overlay}/staging`];
  }

  /** rename(2) of two absolute paths; below the graph root mounts do not separate them. */
  async rename(from: string, to: string): Promise<void> {
    await Deno.rename(this.#plainPath(from), this.#plainPath(to));
  }

  [Symbol.dispose](): void {
    this.plain?.[Symbol.dispose]();
  }

  #plainPath(path: string): string {
    const { root } = this.place;
    if (this.plain === undefined || !path.startsWith(`${root}/`)) return path;
    return `${this.plain.path}${path.slice(root.length)}`;
  }
}

async function openPlain(place: LayerRoot, logger: Logger): Promise<DetachedMount | undefined> {
  let plain: DetachedMount;
  try {
    plain = cloneMount(place.root);
  } catch (error) {
    logger.debug("no private view of the store's root, stages go below overlay", { error: messageOf(error) });
    return undefined;
  }
  if (await isSame(`${plain.path}/overlay`, place.overlay) && await isSame(`${plain.path}/tmp`, place.temporary)) {
    return plain;
  }
  plain[Symbol.dispose]();
  return undefined;
}

async function isSame(a: string, b: string): Promise<boolean> {
  try {
    const [first, second] = await Promise.all([Deno.stat(a), Deno.stat(b)]);
    return first.dev === second.dev && first.ino === second.ino;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}
