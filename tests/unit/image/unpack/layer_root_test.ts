import assert from "node:assert/strict";
import { parseDigest } from "../../../../src/base/ids.ts";
import { pullLayer } from "../../../../src/image/pull/layer.ts";
import { unpackLayer } from "../../../../src/image/unpack/unpack_layer.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { getXattr } from "../../../../src/linux/xattr.ts";
import { sha256 } from "../../../fakes/registry/content.ts";
import { type Entry, tarOf } from "../../../fakes/tar_builder.ts";
import { nativeCrc64 } from "../../../../src/linux/checksums.ts";

// A library that opens inside a test counts as a leak.
nativeCrc64();

openLibraries();

/** Pulls a layer that has an entry for its root, and shows the directory that comes of it. */
async function withRoot(root: Omit<Entry, "name">, look: (directory: string) => Promise<void>): Promise<void> {
  const base = await Deno.makeTempDir({ prefix: "layer-root-" });
  const archive = tarOf({ name: "./", ...root }, { name: "file" });
  const digest = parseDigest(sha256(archive));
  const pieces = [archive];
  try {
    await Deno.mkdir(`${base}/diff`);
    await pullLayer({
      source: { read: () => Promise.resolve(pieces.pop()), [Symbol.asyncDispose]: () => Promise.resolve() },
      digest,
      diffId: digest,
      target: { index: 0, directory: `${base}/diff`, tarSplitPath: `${base}/split` },
      unpack: unpackLayer,
      signal: new AbortController().signal,
    });
    await look(`${base}/diff`);
  } finally {
    await Deno.remove(base, { recursive: true });
  }
}

const xattr = (name: string, value = "y"): NonNullable<Entry["pax"]> => [[`SCHILY.xattr.${name}`, value]];

Deno.test("pullLayer() gives the layer's directory owner, mode, attributes and time of the archive's root", async () => {
  await withRoot({ mode: 0o1750, uid: 3, gid: 4, mtime: 1_500_000_000, pax: xattr("user.k") }, async (directory) => {
    const { mode, uid, gid, mtime } = await Deno.stat(directory);
    assert.deepEqual([(mode ?? 0) & 0o7777, uid, gid, Number(mtime)], [0o1750, 3, 4, 1_500_000_000_000]);
    assert.deepEqual(getXattr(directory, "user.k"), new TextEncoder().encode("y"));
  });
});

Deno.test("pullLayer() keeps overlay's attributes, and times that nothing can hold, from the root as from other entries", async () => {
  await withRoot({ mtime: -1, pax: xattr("trusted.overlay.redirect", "/etc") }, async (directory) => {
    assert.equal(getXattr(directory, "trusted.overlay.redirect"), undefined);
    assert.equal(Number((await Deno.stat(directory)).mtime), 0);
  });
  await withRoot({ mtime: 2 ** 52, pax: xattr("no.such.name.space") }, async (directory) => {
    assert.equal(Number((await Deno.stat(directory)).mtime), 0);
  });
});

Deno.test("pullLayer() blames the archive for attributes of the root that the kernel refuses", async () => {
  for (const pax of [xattr("user.k", "v".repeat(70_000)), xattr(`user.${"n".repeat(300)}`)]) {
    await assert.rejects(
      withRoot({ pax }, () => Promise.resolve()),
      { kind: "invalid_argument", message: /layer archive: entry "\.\/" at byte 0: fsetxattr/ },
    );
  }
});
