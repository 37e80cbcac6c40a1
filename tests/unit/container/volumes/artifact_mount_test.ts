import { deepEqual, throws } from "node:assert/strict";
import { filesAt } from "../../../../src/container/volumes/artifact_mount.ts";

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
