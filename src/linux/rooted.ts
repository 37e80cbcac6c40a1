import { checked, cString, lazyLibc } from "./_libc.ts";
import {
  EEXIST,
  ENOENT,
  ENOTDIR,
  lchownat,
  mkdirat,
  must,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openInRoot,
  removeTreeAt,
} from "./at.ts";
import { bindMount } from "./mount.ts";

const libc = lazyLibc({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
});

const O_NONBLOCK = 0o4000;
const FIRST_READ_BYTES = 16 * 1024;

/**
 * Reads a small file below a directory that an image or a container controls: `..`, absolute paths and symbolic links
 * stay inside `root`, device files do not hang.
 *
 * @param options.maxBytes longer files are cut there
 * @returns undefined when there is no such file
 * @throws ErrnoError for everything else, such as ELOOP
 */
export function readFileInRoot(root: string, path: string, options: { maxBytes: number }): Uint8Array | undefined {
  using rootFd = openRoot(root);
  const fd = openInRoot(rootFd.fd, cString(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd === -ENOENT || fd === -ENOTDIR) return undefined;
  using _file = closing(must(fd, "openat2", `${root} ${path}`));
  return readUpTo(fd, options.maxBytes);
}

/**
 * Makes a directory with its parents (mode 0755, of root or this owner) below a directory that an image controls; links on the way
 * stay inside `root`. Succeeds when it is there.
 *
 * @throws ErrnoError, such as ENOTDIR when a file is in the way
 */
export function makeDirectoriesInRoot(
  root: string,
  path: string,
  owner: { readonly uid: number; readonly gid: number } = { uid: 0, gid: 0 },
): void {
  using rootFd = openRoot(root);
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  for (let depth = 0; depth < parts.length; depth++) {
    const parent = `/${parts.slice(0, depth).join("/")}`;
    const name = parts[depth] ?? "";
    if (name === "..") continue;
    using parentFd = closing(
      must(openInRoot(rootFd.fd, cString(parent), O_PATH | O_DIRECTORY | O_CLOEXEC), "openat2", `${root} ${parent}`),
    );
    const made = mkdirat(parentFd.fd, cString(name), 0o755);
    if (made === -EEXIST) continue;
    must(made, "mkdirat", `${root} ${parent} ${name}`);
    if (owner.uid === 0 && owner.gid === 0) continue;
    must(lchownat(parentFd.fd, cString(name), owner.uid, owner.gid), "fchownat", `${root} ${parent} ${name}`);
  }
}

/**
 * Removes a file or a tree below a directory that an image or a container controls; links on the way stay inside
 * `root`, the last part is not followed. Succeeds when it is not there.
 *
 * @throws ErrnoError
 */
export function removeInRoot(root: string, path: string): void {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  const name = parts.pop();
  if (name === undefined || name === "..") return;
  using rootFd = openRoot(root);
  const parent = `/${parts.join("/")}`;
  const fd = openInRoot(rootFd.fd, cString(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd === -ENOENT || fd === -ENOTDIR) return;
  using parentFd = closing(must(fd, "openat2", `${root} ${parent}`));
  removeTreeAt(parentFd.fd, cString(name));
}

/**
 * Binds what lies at `path` below `root`, a directory or file, read-only on `target`, which is made. Links in `path` stay
 * inside `root`, and nobody can put another one in its place between the look and the mount.
 *
 * @throws ErrnoError, such as ENOENT
 */
export function bindInRoot(root: string, path: string, target: string): void {
  using rootFd = openRoot(root);
  const fd = must(openInRoot(rootFd.fd, cString(path), O_PATH | O_CLOEXEC), "openat2", `${root} ${path}`);
  using _source = closing(fd);
  const source = `/proc/self/fd/${fd}`;
  Deno.mkdirSync(target.slice(0, target.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  if (Deno.statSync(source).isDirectory) Deno.mkdirSync(target, { mode: 0o755 });
  else Deno.openSync(target, { createNew: true, write: true, mode: 0o644 }).close();
  bindMount(source, target, { readonly: true });
}

function openRoot(root: string): { readonly fd: number } & Disposable {
  // FFI open(2) of a local directory; the path lives over the call.
  return closing(checked(libc().open(cString(root), O_PATH | O_DIRECTORY | O_CLOEXEC), "open", root));
}

function closing(fd: number): { readonly fd: number } & Disposable {
  return { fd, [Symbol.dispose]: (): void => void libc().close(fd) };
}

function readUpTo(fd: number, maxBytes: number): Uint8Array {
  let bytes = new Uint8Array(Math.min(maxBytes, FIRST_READ_BYTES));
  let length = 0;
  while (length < maxBytes) {
    if (length === bytes.length) {
      const longer = new Uint8Array(Math.min(maxBytes, length * 4));
      longer.set(bytes);
      bytes = longer;
    }
    // FFI read(2): opened non-blocking; the buffer lives over the call.
    const got = checked(Number(libc().read(fd, bytes.subarray(length), BigInt(bytes.length - length))), "read");
    if (got === 0) break;
    length += got;
  }
  return bytes.subarray(0, length);
}
