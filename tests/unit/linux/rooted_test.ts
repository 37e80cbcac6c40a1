import assert from "node:assert/strict";
import { ErrnoError } from "../../../src/linux/errno.ts";
import { makeDirectoriesInRoot, readFileInRoot } from "../../../src/linux/rooted.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

async function withRoot(body: (root: string, outside: string) => Promise<void>): Promise<void> {
  const base = await Deno.makeTempDir();
  await Deno.mkdir(`${base}/root/etc`, { recursive: true });
  await Deno.mkdir(`${base}/outside`);
  await Deno.writeTextFile(`${base}/outside/secret`, "secret");
  try {
    await body(`${base}/root`, `${base}/outside`);
  } finally {
    await Deno.remove(base, { recursive: true });
  }
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

Deno.test("readFileInRoot() keeps links and dots inside the root", async () => {
  await withRoot(async (root, outside) => {
    await Deno.writeTextFile(`${root}/etc/passwd`, "inside");
    await Deno.symlink("/etc/passwd", `${root}/absolute`);
    await Deno.symlink("../../../../etc/passwd", `${root}/etc/relative`);
    await Deno.symlink(`${outside}/secret`, `${root}/escape`);
    const read = (path: string): string | undefined => text(readFileInRoot(root, path, { maxBytes: 100 }));
    assert.deepEqual(
      ["/etc/passwd", "absolute", "/etc/relative", "/../../etc/passwd"].map(read),
      Array(4).fill("inside"),
    );
    assert.equal(read("/escape"), undefined);
    assert.equal(read("/etc/passwd/x"), undefined);
  });
});

Deno.test("readFileInRoot() cuts long files, reads those over its first buffer, and does not hang on a pipe", async () => {
  await withRoot(async (root) => {
    await Deno.writeTextFile(`${root}/long`, "x".repeat(100_000));
    assert.equal(readFileInRoot(root, "/long", { maxBytes: 1_000_000 })?.length, 100_000);
    assert.equal(readFileInRoot(root, "/long", { maxBytes: 20_000 })?.length, 20_000);
    await Deno.symlink("loop", `${root}/loop`);
    assert.throws(() => readFileInRoot(root, "/loop", { maxBytes: 1 }), ErrnoError);
  });
});

Deno.test("makeDirectoriesInRoot() follows links inside the root only", async () => {
  await withRoot(async (root, outside) => {
    await Deno.symlink(outside, `${root}/link`);
    await Deno.mkdir(`${root}/real`);
    await Deno.symlink("/real", `${root}/inner`);
    makeDirectoriesInRoot(root, "/inner/a/b");
    makeDirectoriesInRoot(root, "/inner/a/b");
    assert.ok((await Deno.stat(`${root}/real/a/b`)).isDirectory);
    assert.throws(() => makeDirectoriesInRoot(root, "/link/evil"), ErrnoError);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(outside), (entry) => entry.name), ["secret"]);
  });
});
