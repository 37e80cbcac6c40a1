import { deepEqual, rejects, throws } from "node:assert/strict";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { unmount } from "../../../../src/linux/mount.ts";
import { getXattr } from "../../../../src/linux/xattr.ts";
import {
  checkThere,
  filesAt,
  labelFiles,
  mountPlaceholders,
} from "../../../../src/container/volumes/artifact_mount.ts";

openLibraries();

const FILES = ["a", "docs/x", "docs/deep/y", "docsother"].map((name) => ({ name, path: `/blobs/${name}` }));

Deno.test("filesAt() gives a file, a directory's files under their names from there, or all", () => {
  deepEqual(filesAt(FILES, "docs/x"), FILES[1]);
  deepEqual(filesAt(FILES, "./docs//deep/"), [{ name: "y", path: "/blobs/docs/deep/y" }]);
  deepEqual(filesAt(FILES, "docs"), [
    { name: "x", path: "/blobs/docs/x" },
    { name: "deep/y", path: "/blobs/docs/deep/y" },
  ]);
  deepEqual(filesAt(FILES, ""), FILES);
  deepEqual(filesAt(FILES, "."), FILES);
  for (const path of ["doc", "docs/none", "..", "a/b"]) throws(() => filesAt(FILES, path), /not found/);
});

Deno.test("mountPlaceholders() shows a read-only tree of empty files, labelled, and leaves nothing beside it", async () => {
  const directory = await Deno.makeTempDir({ prefix: "artifact-mount-" });
  const target = `${directory}/volume`;
  const label = "system_u:object_r:container_file_t:s0";
  const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value).replace(/\0$/, "");
  try {
    await Deno.mkdir(target);
    // What a crash leaves on the way is taken away first.
    await Deno.mkdir(`${target}.new/left`, { recursive: true });
    await mountPlaceholders(target, FILES, { label });
    for (const { name } of FILES) deepEqual(await Deno.readTextFile(`${target}/${name}`), "");
    for (const path of [target, `${target}/docs`, `${target}/docs/deep/y`]) {
      deepEqual(text(getXattr(path, "security.selinux")), label);
    }
    await rejects(Deno.writeTextFile(`${target}/a`, "x"), /Read-only/);
    await rejects(Deno.mkdir(`${target}/new`), /Read-only/);
    const blob = `${directory}/blob`;
    await Deno.writeTextFile(blob, "content");
    await labelFiles([{ name: "a", path: blob }], label);
    await checkThere([{ name: "a", path: blob }]);
    await rejects(checkThere([{ name: "b", path: `${blob}2` }]), /file "b" of the artifact is gone: .*pull it again/);
    deepEqual(text(getXattr(blob, "security.selinux")), label);
  } finally {
    await unmount(target, { detach: true });
    await Deno.remove(directory, { recursive: true });
  }
});
