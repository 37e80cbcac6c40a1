import assert from "node:assert/strict";
import {
  AT_FDCWD,
  close,
  deviceNumber,
  EEXIST,
  ENOENT,
  futimens,
  mkdirat,
  must,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_WRONLY,
  openat,
  openInRoot,
  pwriteAll,
  readNames,
  removeTreeAt,
  S_IFDIR,
  S_IFMT,
  setTimes,
  statAt,
  symlinkat,
  TIMES_WORDS,
  unlinkat,
  writeAll,
} from "../../../src/linux/at.ts";
import { ErrnoError } from "../../../src/linux/errno.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const c = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(`${text}\0`);

function scratch(): Disposable & { path: string; fd: number } {
  const path = Deno.makeTempDirSync();
  const fd = must(openat(AT_FDCWD, c(path), O_PATH | O_DIRECTORY, 0), "openat");
  return {
    path,
    fd,
    [Symbol.dispose]: () => {
      close(fd);
      Deno.removeSync(path, { recursive: true });
    },
  };
}

Deno.test("openInRoot() keeps `..`, absolute names and links inside when they lead out", () => {
  using dir = scratch();
  Deno.mkdirSync(`${dir.path}/root/etc`, { recursive: true });
  Deno.mkdirSync(`${dir.path}/etc/outside`, { recursive: true });
  Deno.symlinkSync("/etc", `${dir.path}/root/absolute`);
  Deno.symlinkSync("../../../etc", `${dir.path}/root/up`);
  const root = must(openat(dir.fd, c("root"), O_PATH | O_DIRECTORY, 0), "openat");
  for (const name of ["../etc", "/etc", "absolute", "up", "absolute/../../etc"]) {
    const fd = must(openInRoot(root, c(name), O_DIRECTORY), "openat2", name);
    assert.deepEqual(readNames(fd), [], `${name} is not the empty directory inside`);
    close(fd);
  }
  close(root);
});

Deno.test("openInRoot() refuses magic links and other mounts", () => {
  const root = must(openat(AT_FDCWD, c("/"), O_PATH | O_DIRECTORY, 0), "openat");
  assert.ok(openInRoot(root, c("proc/self"), O_PATH) < 0);
  close(root);
});

Deno.test("openat() gives a negated errno when the name is taken or absent", () => {
  using dir = scratch();
  Deno.writeTextFileSync(`${dir.path}/taken`, "");
  assert.equal(openat(dir.fd, c("taken"), O_WRONLY | O_CREAT | O_EXCL, 0o600), -EEXIST);
  assert.equal(openat(dir.fd, c("absent"), O_WRONLY, 0), -ENOENT);
  assert.equal(unlinkat(dir.fd, c("absent"), 0), -ENOENT);
});

Deno.test("must() throws the error that a negated errno stands for", () => {
  assert.throws(() => must(-ENOENT, "openat", "x"), (error) => error instanceof ErrnoError && error.code === "ENOENT");
  assert.equal(must(3, "openat"), 3);
});

Deno.test("writeAll() and pwriteAll() write everything at its place", () => {
  using dir = scratch();
  const fd = must(openat(dir.fd, c("file"), O_WRONLY | O_CREAT, 0o600), "openat");
  assert.equal(writeAll(fd, c("hello")), 0);
  assert.equal(pwriteAll(fd, c("!").subarray(0, 1), 8), 0);
  close(fd);
  assert.equal(Deno.readTextFileSync(`${dir.path}/file`), "hello\0\0\0!");
});

Deno.test("writeAll() reports a failure of the kernel", () => {
  assert.equal(writeAll(-1, c("x")), -9);
});

Deno.test("setTimes() holds times before the epoch and after 2038", () => {
  using dir = scratch();
  const fd = must(openat(dir.fd, c("file"), O_WRONLY | O_CREAT, 0o600), "openat");
  const times = new Int32Array(TIMES_WORDS);
  for (const seconds of [-2, 0, 2 ** 31 + 5, 2 ** 32 + 7]) {
    setTimes(times, 0, 0, 0);
    setTimes(times, 1, seconds, 250_000_000);
    must(futimens(fd, times), "futimens");
    assert.equal(Deno.statSync(`${dir.path}/file`).mtime?.getTime(), seconds * 1000 + 250);
  }
  close(fd);
});

Deno.test("deviceNumber() encodes as makedev does when numbers are large", () => {
  assert.equal(deviceNumber(1, 3), 0x103n);
  assert.equal(deviceNumber(259, 300000), (0x103n << 8n) | (0x493n << 20n) | 0xe0n);
});

Deno.test("statAt() does not follow links and gives undefined when there is nothing", () => {
  using dir = scratch();
  must(mkdirat(dir.fd, c("d"), 0o750), "mkdirat");
  must(symlinkat(c("d"), dir.fd, c("link")), "symlinkat");
  const directory = statAt(dir.fd, c("d"));
  assert.equal((directory?.mode ?? 0) & S_IFMT, S_IFDIR);
  assert.notEqual((statAt(dir.fd, c("link"))?.mode ?? 0) & S_IFMT, S_IFDIR);
  assert.equal(statAt(dir.fd, c("nothing")), undefined);
});

Deno.test("removeTreeAt() removes a tree and leaves what links in it point to", () => {
  using dir = scratch();
  Deno.mkdirSync(`${dir.path}/tree/a/b`, { recursive: true });
  Deno.mkdirSync(`${dir.path}/kept`);
  Deno.writeTextFileSync(`${dir.path}/kept/file`, "kept");
  for (let i = 0; i < 1500; i++) Deno.writeTextFileSync(`${dir.path}/tree/a/${"n".repeat(40)}${i}`, "");
  Deno.symlinkSync("../kept", `${dir.path}/tree/link`);
  removeTreeAt(dir.fd, c("tree"));
  removeTreeAt(dir.fd, c("tree"));
  assert.deepEqual([...Deno.readDirSync(dir.path)].map((entry) => entry.name), ["kept"]);
  assert.equal(Deno.readTextFileSync(`${dir.path}/kept/file`), "kept");
});
