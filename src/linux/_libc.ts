/**
 * The `Deno.dlopen` of this project, but for the names of system calls in `seccomp_notify.ts`. Each file of this folder declares the C functions that it needs, with
 * {@link lazyLibc}, which opens libc on first use, so that importing a file costs nothing.
 */
import { ErrnoError } from "./errno.ts";

const LIBC = "libc.so.6";

const openers: Array<() => unknown> = [];

/** Opens libc for these functions when the result is first called; later calls return the same object. */
export function lazyLibc<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
): () => Deno.DynamicLibrary<S>["symbols"] {
  let opened: Deno.DynamicLibrary<S>["symbols"] | undefined;
  const open = (): Deno.DynamicLibrary<S>["symbols"] => opened ??= Deno.dlopen(LIBC, symbols).symbols;
  openers.push(open);
  return open;
}

/** Opens all that the files loaded so far declare. */
export function openAll(): void {
  for (const open of openers) open();
}

const location = lazyLibc({ __errno_location: { parameters: [], result: "pointer" } });
let errnoView: Deno.UnsafePointerView | undefined;

/**
 * errno of the C call made in the statement before. Valid on the main thread only, for synchronous calls only.
 */
export function errno(): number {
  if (errnoView === undefined) {
    const pointer = location().__errno_location();
    if (pointer === null) throw new TypeError("libc gave no errno location");
    errnoView = new Deno.UnsafePointerView(pointer);
  }
  return errnoView.getInt32();
}

const encoder = new TextEncoder();

/**
 * `text` as a NUL-terminated C string. The caller keeps the array alive over the call (a local variable does).
 *
 * @throws ErrnoError with EINVAL if `text` has a NUL byte, which would silently cut it
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new ErrnoError("encode path", EINVAL, text);
  return encoder.encode(text + "\0");
}

const EINVAL = 22;

/** The result of a call that gives -1 on failure. */
export function checked(result: number, call: string, path?: string): number {
  if (result !== -1) return result;
  throw new ErrnoError(call, errno(), path);
}
