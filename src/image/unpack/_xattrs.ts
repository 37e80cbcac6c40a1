import { isErrno } from "../../linux/errno.ts";
import { cBytes } from "./_names.ts";

/** Overlay's mark on a directory that hides everything below it in lower layers (kernel, filesystems/overlayfs.rst). */
export const OPAQUE_XATTR = "trusted.overlay.opaque";
const OVERLAY_XATTRS = "trusted.overlay.";
/** The host's policy gives labels, not the image; containers/storage skips it too. */
const SELINUX_XATTR = "security.selinux";

/**
 * Whether an attribute from an archive is set. Overlay's own ones are not, apart from the opaque mark: `redirect` and
 * `metacopy` would let a layer show files of other layers under names and contents that nobody signed.
 */
function isHonoured(name: string): boolean {
  if (name === SELINUX_XATTR) return false;
  return !name.startsWith(OVERLAY_XATTRS) || name === OPAQUE_XATTR;
}

/**
 * Sets those attributes of an entry that are honoured; one that a file system, or a kind of file, has none of is passed over, as
 * containers/storage does.
 *
 * @throws what `set` throws
 */
export function setHonoured(
  xattrs: ReadonlyMap<string, string> | undefined,
  set: (name: Uint8Array<ArrayBuffer>, value: Uint8Array<ArrayBuffer>) => void,
): void {
  for (const [name, value] of xattrs ?? []) {
    if (!isHonoured(name)) continue;
    try {
      set(cBytes(name), cBytes(value).subarray(0, -1));
    } catch (error) {
      if (!isErrno(error, "EOPNOTSUPP")) throw error;
    }
  }
}
