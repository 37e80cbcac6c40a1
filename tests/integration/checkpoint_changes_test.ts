/** What a container changed in its root file system, on a real overlay. */
import assert from "node:assert/strict";
import { rootfsChanges } from "../../src/container/checkpoint/changes.ts";
import { mountOverlay, unmount } from "../../src/linux/mount.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

const signal = new AbortController().signal;

Deno.test("rootfsChanges() finds removed files, replaced directories and mount points", async () => {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-changes-" });
  const at = (path: string): string => `${directory}/${path}`;
  for (const name of ["one", "two", "upper", "work", "merged"]) await Deno.mkdir(at(name));
  const layers = { upper: at("upper"), lowers: [at("two"), at("one")] };
  for (const path of ["one/etc", "one/kept", "two/kept", "one/gone-tree/deep", "one/old/deep", "two/old"]) {
    await Deno.mkdir(at(path), { recursive: true });
  }
  for (
    const path of ["one/etc/removed", "one/etc/changed", "one/old/a", "two/old/b", "one/old/deep/c", "one/old/stays"]
  ) {
    await Deno.writeTextFile(at(path), "image");
  }
  mountOverlay({ target: at("merged"), base: directory, lower: layers.lowers, upper: at("upper"), work: at("work") });
  try {
    await Deno.remove(at("merged/etc/removed"));
    await Deno.writeTextFile(at("merged/etc/changed"), "container");
    await Deno.remove(at("merged/gone-tree"), { recursive: true });
    // Removed and made anew: the kernel marks the new one opaque.
    await Deno.remove(at("merged/old"), { recursive: true });
    await Deno.mkdir(at("merged/old/deep"), { recursive: true });
    await Deno.writeTextFile(at("merged/old/stays"), "container");
    await Deno.symlink("/etc", at("merged/link"));
    await Deno.writeTextFile(at("merged/line\nend"), "x");
    await Deno.mkdir(at("merged/data"));
    await Deno.writeTextFile(at("merged/data/below-a-volume"), "x");
    const changes = await rootfsChanges(layers, { mountPoints: ["/data"], signal });
    assert.deepEqual(changes.deleted, ["/etc/removed", "/gone-tree", "/old/a", "/old/b", "/old/deep/c"]);
    const kept = ["etc", "etc/changed", "line\nend", "link", "old", "old/deep", "old/stays"];
    assert.deepEqual(changes.kept.toSorted(), kept);
  } finally {
    await unmount(at("merged"));
    await Deno.remove(directory, { recursive: true });
  }
});
