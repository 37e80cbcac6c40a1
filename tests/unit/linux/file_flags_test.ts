import assert from "node:assert/strict";
import { commandResult } from "../../../src/linux/command.ts";
import { ErrnoError } from "../../../src/linux/errno.ts";
import { spreadSubdirectories } from "../../../src/linux/file_flags.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

Deno.test("spreadSubdirectories() sets the T of chattr, or says that the file system has none", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const kind = await commandResult(["/usr/bin/stat", "-f", "-c", "%T", directory]);
    const isExt4 = new TextDecoder().decode(kind.stdout).startsWith("ext");
    if (!isExt4) {
      assert.throws(() => spreadSubdirectories(directory), ErrnoError);
      return;
    }
    spreadSubdirectories(directory);
    spreadSubdirectories(directory);
    const { stdout } = await commandResult(["/usr/bin/lsattr", "-d", directory]);
    assert.match(new TextDecoder().decode(stdout), /^-*T[-e]* /);
  } finally {
    await Deno.remove(directory);
  }
});

Deno.test("spreadSubdirectories() refuses what is no directory", async () => {
  const file = await Deno.makeTempFile();
  try {
    assert.throws(() => spreadSubdirectories(file), { name: "ErrnoError", errno: 20 });
  } finally {
    await Deno.remove(file);
  }
});
