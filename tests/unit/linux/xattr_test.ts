import assert from "node:assert/strict";
import { AT_FDCWD, close, must, O_WRONLY, openat } from "../../../src/linux/at.ts";
import { isErrno } from "../../../src/linux/errno.ts";
import { getXattr, listXattrs, removeXattr, setXattr, setXattrOfFd } from "../../../src/linux/xattr.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const value = new Uint8Array([0, 1, 255]);

function scratchFile(): Disposable & { path: string } {
  const path = Deno.makeTempFileSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path) };
}

Deno.test("setXattr() stores bytes that getXattr() gives back", () => {
  using file = scratchFile();
  setXattr(file.path, "user.bytes", value);
  assert.deepEqual(getXattr(file.path, "user.bytes"), value);
  setXattr(file.path, "user.bytes", new Uint8Array());
  assert.deepEqual(getXattr(file.path, "user.bytes"), new Uint8Array());
});

Deno.test("setXattrOfFd() does the same on an open file", () => {
  using file = scratchFile();
  const fd = must(openat(AT_FDCWD, new TextEncoder().encode(`${file.path}\0`), O_WRONLY, 0), "openat");
  setXattrOfFd(fd, new TextEncoder().encode("trusted.fd\0"), value);
  close(fd);
  assert.deepEqual(getXattr(file.path, "trusted.fd"), value);
});

Deno.test("listXattrs() lists sorted names and removeXattr() removes one", () => {
  using file = scratchFile();
  assert.deepEqual(listXattrs(file.path), []);
  setXattr(file.path, "user.b", value);
  setXattr(file.path, "user.a", value);
  assert.deepEqual(listXattrs(file.path), ["user.a", "user.b"]);
  removeXattr(file.path, "user.a");
  removeXattr(file.path, "user.a");
  assert.deepEqual(listXattrs(file.path), ["user.b"]);
  assert.equal(getXattr(file.path, "user.a"), undefined);
});

Deno.test("setXattr() throws the kernel's answer when a name has no known namespace", () => {
  using file = scratchFile();
  assert.throws(() => setXattr(file.path, "bogus.name", value), (error) => isErrno(error, "EOPNOTSUPP"));
  assert.throws(() => getXattr(`${file.path}.absent`, "user.a"), (error) => isErrno(error, "ENOENT"));
});

Deno.test("xattr functions do not follow a symbolic link", () => {
  using file = scratchFile();
  const link = `${file.path}.link`;
  Deno.symlinkSync(file.path, link);
  setXattr(link, "trusted.of.link", value);
  Deno.removeSync(link);
  assert.equal(getXattr(file.path, "trusted.of.link"), undefined);
});
