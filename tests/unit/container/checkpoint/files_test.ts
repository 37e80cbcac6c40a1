import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/base/errors.ts";
import { CONFIG_DUMP, DELETED_FILES, readDocuments, SPEC_DUMP } from "../../../../src/container/checkpoint/files.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";

openLibraries();

async function withDocuments(
  documents: Readonly<Record<string, string>>,
  body: (directory: string) => void | Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(documents)) await Deno.writeTextFile(`${directory}/${name}`, text);
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const CONFIG = {
  name: "web",
  rootfsImageRef: "a".repeat(64),
  rootfsImageName: "r/i:1",
  checkpointedTime: "2026-01-01",
};
const SPEC = {
  annotations: { a: "b", n: 1 },
  mounts: [
    { type: "proc", destination: "/proc" },
    { type: "bind", destination: "/etc/hosts" },
    { type: "bind", destination: "/dev/shm" },
    { type: "bind", destination: "/data" },
  ],
};

Deno.test("readDocuments() takes what a restore needs: images, volumes that must be there, what is gone", async () => {
  const documents = {
    [CONFIG_DUMP]: JSON.stringify(CONFIG),
    [SPEC_DUMP]: JSON.stringify(SPEC),
    [DELETED_FILES]: '["/etc/x"]',
  };
  await withDocuments(documents, (directory) => {
    assert.deepEqual(readDocuments(directory), {
      imageNames: ["a".repeat(64), "r/i:1"],
      containerName: "web",
      checkpointedTime: "2026-01-01",
      bindDestinations: ["/data"],
      deletedFiles: ["/etc/x"],
      annotations: { a: "b" },
    });
  });
});

for (
  const [what, documents, message] of [
    ["no config.dump", {}, /no config\.dump: it is not a checkpoint/],
    ["no spec.dump", { [CONFIG_DUMP]: "{}" }, /no spec\.dump/],
    ["damaged JSON", { [CONFIG_DUMP]: "{", [SPEC_DUMP]: "{}" }, /config\.dump is damaged/],
    ["a list instead of an object", { [CONFIG_DUMP]: "[]", [SPEC_DUMP]: "{}" }, /config\.dump is no JSON object/],
  ] as const
) {
  Deno.test(`readDocuments() refuses ${what}`, async () => {
    await withDocuments(documents, (directory) => {
      assert.throws(() => readDocuments(directory), (error: Error) => {
        assert.ok(error instanceof InvalidArgumentError);
        assert.match(error.message, message);
        return true;
      });
    });
  });
}

Deno.test("readDocuments() does not follow a link out of the checkpoint", async () => {
  await withDocuments({ [SPEC_DUMP]: "{}" }, async (directory) => {
    await Deno.symlink("/etc/passwd", `${directory}/${CONFIG_DUMP}`);
    assert.throws(() => readDocuments(directory), /no config\.dump/);
  });
});
