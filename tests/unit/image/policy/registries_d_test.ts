import { deepEqual, rejects } from "node:assert/strict";
import { loadLookaside, signatureSources } from "../../../../src/image/policy/registries_d.ts";
import { parseReference } from "../../../../src/image/reference.ts";

async function withFiles(
  files: Readonly<Record<string, string>>,
  body: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${directory}/${name}`, text);
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const DEFAULT = { lookaside: "file:///var/lib/containers/sigstore", attachments: false };

Deno.test("signatureSources() takes each setting from the most particular place that has it", async () => {
  const files = {
    "a.yaml": "default-docker:\n  lookaside: https://all.example/s\n  use-sigstore-attachments: true\n",
    "b.yaml": [
      "docker:",
      "  quay.io: {sigstore: 'file:///old'}",
      "  quay.io/team: {use-sigstore-attachments: false}",
      "  quay.io/team/app:1: {lookaside: 'http://one.example'}",
      "  127.0.0.1:5000: {lookaside-staging: 'file:///staging'}",
    ].join("\n"),
    "c.conf": "not read: [",
    "empty.yaml": "# nothing\n",
  };
  await withFiles(files, async (directory) => {
    const config = await loadLookaside({ directory });
    const of = (name: string): unknown => signatureSources(config, parseReference(name));
    deepEqual(of("quay.io/team/app:1"), { lookaside: "http://one.example", attachments: false });
    deepEqual(of("quay.io/team/app:2"), { lookaside: "file:///old", attachments: false });
    deepEqual(of("quay.io/else:2"), { lookaside: "file:///old", attachments: true });
    deepEqual(of("127.0.0.1:5000/x:1"), { lookaside: "https://all.example/s", attachments: true });
  });
});

Deno.test("loadLookaside() merges all directories; of one name the user's file counts, then the administrator's", async () => {
  await withFiles({}, async (root) => {
    const write = async (path: string, scope: string): Promise<void> => {
      await Deno.mkdir(`${root}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, `docker: {${scope}: {lookaside: 'file:///${path}'}}`);
    };
    await write("usr/registries.d/a.yaml", "one.example");
    await write("usr/registries.d/only.yaml", "two.example");
    await write("etc/registries.d/a.yaml", "one.example");
    await write("etc/registries.d/b.yaml", "three.example");
    await write("etc/registries.rootful.d/b.yaml", "three.example");
    await write("home/containers/registries.d/c.yaml", "four.example");
    await write("etc/registries.d/c.yaml", "four.example");
    const systemDirectories = [`${root}/usr`, `${root}/etc`];
    const config = await loadLookaside({ configHome: `${root}/home`, systemDirectories });
    const of = (host: string): string => signatureSources(config, parseReference(`${host}/x:1`)).lookaside;
    deepEqual(["one.example", "two.example", "three.example", "four.example"].map(of), [
      "file:///etc/registries.d/a.yaml",
      "file:///usr/registries.d/only.yaml",
      "file:///etc/registries.rootful.d/b.yaml",
      "file:///home/containers/registries.d/c.yaml",
    ]);
  });
  const none = await loadLookaside({ directory: "/nonexistent/registries.d" });
  deepEqual(signatureSources(none, parseReference("quay.io/a:1")), DEFAULT);
});

for (
  const [name, files] of Object.entries<Readonly<Record<string, string>>>({
    "the default twice": { "a.yaml": "default-docker: {}", "b.yaml": "default-docker: {}" },
    "a scope twice": { "a.yaml": "docker: {quay.io: {}}", "b.yaml": "docker: {quay.io: {}}" },
    "no URL": { "a.yaml": "docker: {quay.io: {lookaside: /var/s}}" },
    "another scheme": { "a.yaml": "docker: {quay.io: {lookaside: 'ftp://x/y'}}" },
    "a text for a switch": { "a.yaml": "default-docker: {use-sigstore-attachments: 'sure'}" },
    "no YAML": { "a.yaml": "docker: [" },
    "a list": { "a.yaml": "- a" },
  })
) {
  Deno.test(`loadLookaside() refuses ${name}, with the file's name`, async () => {
    await withFiles(files, async (directory) => {
      await rejects(loadLookaside({ directory }), {
        kind: "failed_precondition",
        message: /signature places .*\.yaml: /,
      });
    });
  });
}
