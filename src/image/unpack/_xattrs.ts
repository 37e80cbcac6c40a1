/** Overlay's mark on a directory that hides everything below it in lower layers (kernel, filesystems/overlayfs.rst). */
export const OPAQUE_XATTR = "trusted.overlay.opaque";
const OVERLAY_XATTRS = "trusted.overlay.";
/** The host's policy gives labels, not the image; containers/storage skips it too. */
const SELINUX_XATTR = "security.selinux";

/**
 * Whether an attribute from an archive is set. Overlay's own ones are not, apart from the opaque mark: `redirect` and
 * `metacopy` would let a layer show files of other layers under names and contents that nobody signed.
 */
export function isHonoured(name: string): boolean {
  if (name === SELINUX_XATTR) return false;
  return !name.startsWith(OVERLAY_XATTRS) || name === OPAQUE_XATTR;
}
