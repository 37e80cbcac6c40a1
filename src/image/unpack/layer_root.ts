import {
  AT_FDCWD,
  close,
  fchmod,
  fchown,
  futimens,
  must,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openat,
  TIMES_WORDS,
} from "../../linux/at.ts";
import { setXattrOfFd } from "../../linux/xattr.ts";
import { fillTimes, saneTime } from "./_times.ts";
import { setHonoured } from "./_xattrs.ts";
import type { TarEntry } from "./entry.ts";
import { asLayerError } from "./layer_error.ts";

/**
 * Gives a layer's directory the owner, mode, attributes and time of the archive's own entry for the root. The unpacker leaves
 * that alone, because only whoever made the directory knows that it is nobody else's.
 *
 * @throws LayerError
 */
export function applyRoot(directory: string, root: TarEntry): void {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const fd = must(openat(AT_FDCWD, new TextEncoder().encode(`${directory}\0`), flags, 0), "open", directory);
  try {
    must(fchown(fd, root.uid, root.gid), "fchown");
    must(fchmod(fd, root.mode), "fchmod");
    setHonoured(root.xattrs, (name, value) => setXattrOfFd(fd, name, value));
    const times = new Int32Array(TIMES_WORDS);
    fillTimes(times, root, saneTime(root.mtime));
    must(futimens(fd, times), "futimens");
  } catch (error) {
    throw asLayerError(error, { entry: root.name, offset: root.offset });
  } finally {
    close(fd);
  }
}
