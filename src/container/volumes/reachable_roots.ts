import { type IdMaps, rootOwner } from "../../base/id_maps.ts";
import type { Logger } from "../../base/logger.ts";
import { messageOf } from "../../base/errors.ts";
import { bindMount, unmount } from "../../linux/mount.ts";

const OTHERS_MAY_PASS = 0o001;
const PERMISSION_BITS = 0o7777;

/**
 * Root file systems at places that the root user of a user namespace can reach: inside it, a runtime has the rights of an
 * ordinary user on the directories above. Each lies in a directory that only that user may enter, so that nobody else
 * gets at the set-id programs of an image.
 */
export class ReachableRoots {
  #passable: Promise<void> | undefined;

  constructor(private readonly directory: string, private readonly log: Logger) {}

  /** Binds a root file system for the root user of these maps, and gives the path. */
  async expose(id: string, rootfs: string, maps: IdMaps): Promise<string> {
    await (this.#passable ??= this.#makePassable());
    const place = `${this.directory}/${id}`;
    const target = `${place}/rootfs`;
    await Deno.mkdir(target, { recursive: true, mode: 0o700 });
    const { uid, gid } = rootOwner(maps);
    await Deno.chown(place, uid, gid);
    bindMount(rootfs, target);
    return target;
  }

  /** Succeeds when there is none. */
  async remove(id: string): Promise<void> {
    await unmount(`${this.directory}/${id}/rootfs`, { detach: true });
    await Deno.remove(`${this.directory}/${id}`, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  /** Removes what a crash left of containers that are gone. */
  async sweep(isThere: (id: string) => boolean): Promise<void> {
    const names = await Array.fromAsync(Deno.readDir(this.directory)).catch(() => []);
    for (const { name } of names) if (!isThere(name)) await this.remove(name);
  }

  async #makePassable(): Promise<void> {
    await Deno.mkdir(this.directory, { recursive: true, mode: 0o711 });
    const parts = (await Deno.realPath(this.directory)).split("/");
    for (let depth = 2; depth <= parts.length; depth++) {
      const path = parts.slice(0, depth).join("/");
      const mode = ((await Deno.stat(path)).mode ?? 0) & PERMISSION_BITS;
      if ((mode & OTHERS_MAY_PASS) !== 0) continue;
      try {
        await Deno.chmod(path, mode | OTHERS_MAY_PASS);
        this.log.info("a directory may be passed by others now: containers with user namespaces lie below it", {
          path,
        });
      } catch (error) {
        this.log.warn(
          `pods with user namespaces will not start: ${path} cannot be passed by others: ${messageOf(error)}`,
        );
      }
    }
  }
}
