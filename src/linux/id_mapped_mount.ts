import { checked, cString, lazyLibc } from "./_libc.ts";

const libc = lazyLibc({
  syscall: { parameters: ["i64", "i32", "buffer", "u32", "buffer", "usize"], result: "i64" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
});
const moves = lazyLibc({
  syscall: { parameters: ["i64", "i32", "buffer", "i32", "buffer", "u32"], result: "i64" },
});

/** The same numbers on every architecture: Linux 5.2, 5.2 and 5.12. */
const SYS_OPEN_TREE = 428n;
const SYS_MOVE_MOUNT = 429n;
const SYS_MOUNT_SETATTR = 442n;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const O_RDONLY = 0;
const O_CLOEXEC = 0o2000000;
/** struct mount_attr (linux/mount.h): attr_set, attr_clr, propagation, userns_fd. */
const MOUNT_ATTR_IDMAP = 0x00100000n;
const MOUNT_ATTR_WORDS = 4;

export interface IdMappedBind {
  /** A directory or file. */
  readonly source: string;
  /** Of the same type as the source. */
  readonly target: string;
  /** Path of the user namespace whose maps say how owners are shown: its id 0 owns on disk what its host id owns here. */
  readonly userNamespace: string;
  /** Takes the mounts below the source along; only the topmost one is mapped. */
  readonly recursive?: boolean;
}

/**
 * Binds `source` on `target` so that the ids stored in it are those inside a user namespace: a file of uid 0 on disk
 * belongs to the namespace's root here.
 *
 * @throws ErrnoError, with EINVAL when the file system cannot be mapped
 */
export function bindIdMapped({ source, target, userNamespace, recursive = false }: IdMappedBind): void {
  const c = libc();
  const flags = OPEN_TREE_CLONE | O_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  const empty = cString("");
  // FFI open(2), open_tree(2), mount_setattr(2), move_mount(2): work on mount structures in memory; the strings and the
  // attributes live over the calls. The clone is nobody's until it is moved, and goes with its descriptor.
  const namespace = checked(c.open(cString(userNamespace), O_RDONLY | O_CLOEXEC), "open", userNamespace);
  try {
    const path = cString(source);
    const tree = checked(Number(c.syscall(SYS_OPEN_TREE, AT_FDCWD, path, flags, empty, 0n)), "open_tree", source);
    try {
      const attributes = new BigUint64Array(MOUNT_ATTR_WORDS);
      attributes[0] = MOUNT_ATTR_IDMAP;
      attributes[3] = BigInt(namespace);
      const sizeBytes = BigInt(attributes.byteLength);
      checked(
        Number(
          c.syscall(
            SYS_MOUNT_SETATTR,
            tree,
            empty,
            AT_EMPTY_PATH,
            attributes,
            sizeBytes,
          ),
        ),
        "mount_setattr",
        source,
      );
      const place = cString(target);
      const moved = moves().syscall(SYS_MOVE_MOUNT, tree, empty, AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH);
      checked(Number(moved), "move_mount", target);
    } finally {
      c.close(tree);
    }
  } finally {
    c.close(namespace);
  }
}
