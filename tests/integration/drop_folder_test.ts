import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { openLibraries } from "../../src/linux/warm_up.ts";
import type { FakeRegistry, StoredImage } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { skopeo, withDrop } from "./drop_node.ts";
import { isClean } from "./pull_node.ts";

openLibraries();

const NAME = "registry.invalid/app:1";
const soon = (): { readonly signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) });

function addImage(registry: FakeRegistry, content: string): StoredImage {
  const layers = [
    buildTar([{ name: "base", body: "base" }]),
    buildTar([{ name: "content", body: content }, {
      name: "noise",
      body: crypto.getRandomValues(new Uint8Array(65_000)),
    }]),
  ];
  return registry.addImage({ name: `app-${content}`, tag: "1", layers });
}

const idOf = (image: StoredImage): string => image.config.digest.slice("sha256:".length);

Deno.test("what is in the folder at start is imported, pinned ones and small ones first", async () => {
  const prepare = async (
    { drop, registry, root }: { drop: string; registry: FakeRegistry; root: string },
  ): Promise<void> => {
    await skopeo(root, addImage(registry, "one"), `oci-archive:${drop}/one.tar:registry.invalid/one:1`);
    await skopeo(root, addImage(registry, "two"), `docker-archive:${drop}/two.pinned.tar:registry.invalid/two:1`);
  };
  await withDrop({ prepare }, async ({ said, images, folder }) => {
    await said.next(/^info Imported image archive/);
    await said.next(/^info Imported image archive/);
    const pinned = new Map((await images.list()).map((info) => [info.repoTags[0], info.pinned]));
    deepEqual([pinned.get("registry.invalid/one:1"), pinned.get("registry.invalid/two:1")], [false, true]);
    deepEqual(folder.list().map(({ file, state }) => [file, state]), [["two.pinned.tar", "imported"], [
      "one.tar",
      "imported",
    ]]);
  });
});

Deno.test("a file that is being written is not imported, however long that takes, and is once it is closed", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images, folder }) => {
    const built = addImage(registry, "slow");
    await skopeo(root, built, `oci-archive:${root}/whole.tar:${NAME}`);
    const bytes = await Deno.readFile(`${root}/whole.tar`);
    {
      using file = await Deno.open(`${drop}/a.tar`, { write: true, create: true });
      // All that a reader needs is there, and still it is not asked for.
      for (let at = 0; at < bytes.length; at += 8192) await file.write(bytes.subarray(at, at + 8192));
      await folder.provide(["registry.invalid/none:1"], soon());
      await skopeo(root, addImage(registry, "other"), `oci-archive:${root}/other.tar:registry.invalid/other:1`);
      await Deno.rename(`${root}/other.tar`, `${drop}/other.tar`);
      await said.next(/^info Imported image archive .*other\.tar/);
      equal(folder.list().find((one) => one.file === "a.tar")?.state, "incomplete");
      equal(await images.find(NAME), undefined);
    }
    await said.next(/^info Imported image archive .*a\.tar/);
    equal((await images.find(NAME))?.id, idOf(built));
  });
});

Deno.test("a file that is replaced is imported anew, and its name moves", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images }) => {
    const [first, second] = [addImage(registry, "first"), addImage(registry, "second")];
    await skopeo(root, first, `docker-archive:${drop}/a.pinned.tar:${NAME}`);
    await said.next(/^info Imported image archive/);
    await skopeo(root, second, `docker-archive:${root}/next.tar:${NAME}`);
    await Deno.rename(`${root}/next.tar`, `${drop}/a.pinned.tar`);
    await said.next(/^info Imported image archive/);
    equal((await images.find(NAME))?.id, idOf(second));
    const old = await images.find(idOf(first));
    deepEqual([old?.repoTags, old?.pinned], [[], false]);
    await Deno.remove(`${drop}/a.pinned.tar`);
    // An image stays when its archive goes, but not its pin.
    await skopeo(root, first, `oci-archive:${drop}/b.tar:registry.invalid/b:1`);
    await said.next(/^info Imported image archive/);
    ok((await images.find(NAME))?.pinned === false);
  });
});

Deno.test("the same image from a second archive changes nothing but names", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images, store }) => {
    const built = addImage(registry, "same");
    await skopeo(root, built, `oci-archive:${drop}/a.tar:${NAME}`);
    await said.next(/^info Imported image archive/);
    const layers = await Deno.stat(`${root}/graph/overlay-layers/layers.json`);
    const index = await Deno.stat(`${root}/graph/overlay-images/images.json`);
    await Deno.copyFile(`${drop}/a.tar`, `${root}/copy.tar`);
    await Deno.rename(`${root}/copy.tar`, `${drop}/b.tar`);
    await said.next(/^info Imported image archive .*b\.tar/);
    await store.settle();
    equal((await Deno.stat(`${root}/graph/overlay-layers/layers.json`)).ino, layers.ino, "no layer was written");
    equal((await Deno.stat(`${root}/graph/overlay-images/images.json`)).ino, index.ino, "no image was written");
    equal((await images.list()).length, 1);
  });
});

Deno.test("a restart brings removed images back, and takes no name from a later image", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images, restart }) => {
    const [first, second] = [addImage(registry, "first"), addImage(registry, "second")];
    await skopeo(root, first, `oci-archive:${drop}/a.tar:${NAME}`);
    await said.next(/^info Imported image archive/);
    await images.remove(NAME);
    equal((await images.list()).length, 0);
    await restart();
    await said.next(/^info Imported image archive/);
    equal((await images.find(NAME))?.id, idOf(first));
    // Another archive, later: a name moves, and the first archive does not claim it back.
    await skopeo(root, second, `oci-archive:${drop}/b.tar:${NAME}`);
    await said.next(/^info Imported image archive/);
    await images.remove(idOf(first));
    const folder = await restart();
    await folder.provide(["registry.invalid/none:1"], soon());
    equal((await images.find(NAME))?.id, idOf(second));
    equal(await images.find(idOf(first)), undefined);
  });
});

Deno.test("a pull gets the image of an archive when its registry cannot be reached, also one that was removed", async () => {
  await withDrop({}, async ({ registry, root, drop, said, images }) => {
    const built = addImage(registry, "air");
    await skopeo(root, built, `oci-archive:${drop}/a.tar:${NAME}`);
    // It waits for the import.
    equal(await images.pull({ image: NAME }), idOf(built));
    await said.next(/^warn No registry can be reached: the image of an archive of this node is used/);
    await images.remove(NAME);
    equal(await images.pull({ image: NAME }), idOf(built));
    await rejects(images.pull({ image: "registry.invalid/none:1" }), { kind: "registry_unavailable" });
    // A registry that answers has the last word.
    await skopeo(root, built, `oci-archive:${drop}/b.tar:${registry.host}/absent:1`);
    await said.next(/^info Imported image archive .*b\.tar/);
    await rejects(images.pull({ image: `${registry.host}/absent:1` }), { kind: "not_found" });
  });
});

Deno.test("an import whose process is killed leaves nothing, and is done again", async () => {
  await withDrop({}, async ({ registry, root, drop, said, client, store, images, restart }) => {
    const built = addImage(registry, "killed");
    await skopeo(root, built, `oci-archive:${root}/a.tar:${NAME}`);
    await Deno.mkdir(`${root}/big`);
    // Large enough that the process is met at work.
    await Deno.writeFile(`${root}/big/filler`, new Uint8Array(200_000_000));
    await new Deno.Command("tar", { args: ["-C", `${root}/big`, "-rf", `${root}/a.tar`, "filler"] }).output();
    const zipped = new Deno.Command("gzip", { args: ["-1", `${root}/a.tar`] });
    await zipped.output();
    await Deno.rename(`${root}/a.tar.gz`, `${drop}/a.tar.gz`);
    await said.next(/^debug Started the pull process|./);
    const pid = await until(() => client.pid());
    Deno.kill(pid, "SIGKILL");
    match(await said.next(/^error Image archive cannot be imported/), /ended with signal 9/);
    await store.settle();
    await isClean(root);
    await restart();
    await said.next(/^info Imported image archive/);
    equal((await images.find(NAME))?.id, idOf(built));
  });
});

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test("a folder that others can write to is refused, and used once it is root's alone", async () => {
  await withDrop({
    prepare: async ({ drop, registry, root }) => {
      await Deno.chmod(drop, 0o777);
      await skopeo(root, addImage(registry, "any"), `oci-archive:${drop}/a.tar:${NAME}`);
    },
  }, async ({ drop, said, images, folder, restart }) => {
    match(await said.next(/^error Drop folder/), /can be written by others than root.*chmod go-w/);
    ok(folder.problem.includes("written by others"));
    deepEqual([await images.list(), folder.list()], [[], []]);
    // Nobody waits for it.
    await rejects(images.pull({ image: NAME }), { kind: "registry_unavailable" });
    await Deno.chmod(drop, 0o700);
    await restart();
    await said.next(/^info Imported image archive/);
  });
});

Deno.test("links, hidden files and other files in the folder are no archives", async () => {
  await withDrop({}, async ({ drop, said, folder, registry, root, images }) => {
    await skopeo(root, addImage(registry, "link"), `oci-archive:${root}/a.tar:${NAME}`);
    await Deno.symlink(`${root}/a.tar`, `${drop}/link.tar`);
    match(await said.next(/^error Image archive cannot/), /neither a file nor a directory.*link\.tar/);
    await Deno.writeTextFile(`${drop}/README`, "These are our images.\n".repeat(100));
    match(await said.next(/^error Image archive cannot/), /README: it is no sound tar archive/);
    await Deno.copyFile(`${root}/a.tar`, `${drop}/.hidden.tar`);
    await new Deno.Command("mkfifo", { args: [`${drop}/pipe`] }).output();
    await said.next(/^error Image archive cannot.*pipe/);
    deepEqual(folder.list().map(({ file }) => file).sort(), ["README", "link.tar", "pipe"]);
    deepEqual(await images.list(), []);
  });
});
