/** `crio check` on stores that podman and skopeo made. */
import assert from "node:assert/strict";
import { RecordLockFile } from "../../src/linux/record_lock.ts";
import { makeImage, type Roots, withRoots } from "../unit/storage/store_fixture.ts";
import { podman, podmanDone, skopeoInto, tool } from "./storage_tools.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const GOOD = "localhost/good:1";
const BAD = "localhost/bad:1";

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function check(roots: Roots, args: readonly string[], options: readonly string[] = []): Promise<Result> {
  const flags = ["-c", "", "-d", "", "--root", roots.graphRoot, "--runroot", roots.runRoot, ...options];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, ...flags, "check", ...args],
    env: { CONTAINERS_STORAGE_CONF: "/nonexistent" },
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Two images with a base in common and a container of podman on the good one; gives the top layer of the bad one. */
async function withStore(body: (roots: Roots, badLayer: string, badImage: string) => Promise<void>): Promise<void> {
  await withRoots(async (roots) => {
    const good = await makeImage(roots.directory, [{ base: "0" }, { good: "1" }]);
    const bad = await makeImage(roots.directory, [{ base: "0" }, { "etc/bad": "2" }]);
    await skopeoInto(roots, good, GOOD);
    await skopeoInto(roots, bad, BAD);
    await podman(roots, "create", "--name", "podmans", GOOD, "/bin/true");
    const images = JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/overlay-images/images.json`));
    await body(roots, images.find(({ id }: { id: string }) => id === bad.id).layer, bad.id);
    assert.equal(
      await podman(roots, "ps", "-a", "--format", "{{.Names}}"),
      "podmans",
      "podman's container is left alone",
    );
    await podmanDone(roots);
  });
}

Deno.test("crio check finds podman's and skopeo's store sound, and reads every layer", async () => {
  await withStore(async (roots) => {
    const { code, out, err } = await check(roots, []);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(
      out,
      /: 4 layers, 2 images, 1 containers, files of 3 layers compared, in \d+\.\d s\nthe store is sound\n$/,
    );
    const report = JSON.parse((await check(roots, ["--quick", "--json"])).out);
    assert.deepEqual([report.sound, report.verified, report.problems], [true, 0, []]);
  });
});

Deno.test("crio check finds a changed file, --quick does not, and --repair removes that image alone", async () => {
  await withStore(async (roots, badLayer, badImage) => {
    await Deno.writeTextFile(`${roots.graphRoot}/overlay/${badLayer}/diff/etc/bad`, "3");
    assert.equal((await check(roots, ["--quick"])).code, 0);
    const found = await check(roots, []);
    assert.equal(found.code, 3);
    assert.match(found.out, new RegExp(`layer ${badLayer}: the content of its files is not what was unpacked`));
    assert.match(found.out, new RegExp(`image ${badImage}: its layer ${badLayer} is damaged`));
    assert.equal(
      found.err,
      "1 layer errors, 0 read-only layer errors, 1 image errors, 0 read-only image errors, 0 container errors\n",
    );
    const { problems } = JSON.parse((await check(roots, ["--json"])).out);
    assert.deepEqual(problems.map(({ subject, kind, id }: Record<string, string>) => [subject, kind, id]), [
      ["layer", "content", badLayer],
      ["image", "layer-damaged", badImage],
    ]);
    const fixed = await check(roots, ["--repair", "--json"]);
    const { repaired, failed, left, sound } = JSON.parse(fixed.out);
    assert.deepEqual([fixed.code, sound, failed, left], [0, true, [], []]);
    assert.deepEqual(repaired, [`removed image ${badImage}: pull it anew`]);
    assert.equal(await podman(roots, "images", "--format", "{{.Repository}}"), "localhost/good");
    assert.equal((await check(roots, [])).code, 0);
  });
});

Deno.test("crio check keeps a damaged container without --force, and removes it with --force", async () => {
  await withRoots(async (roots) => {
    await skopeoInto(roots, await makeImage(roots.directory, [{ a: "1" }]), GOOD);
    const id = await podman(roots, "create", GOOD, "/bin/true");
    const [image] = JSON.parse(await Deno.readTextFile(`${roots.graphRoot}/overlay-images/images.json`));
    await Deno.remove(`${roots.graphRoot}/overlay/${image.layer}/diff/a`);
    const kept = await check(roots, ["--repair"]);
    assert.equal(kept.code, 3);
    assert.match(kept.err, /1 image errors, 0 read-only image errors, 1 container errors/);
    assert.match(kept.out, new RegExp(`not removed image ${image.id}.*used by 1 container`));
    const removed = await check(roots, ["-r", "-f"]);
    assert.equal(removed.code, 0, removed.out + removed.err);
    assert.match(removed.out, new RegExp(`removed container ${id}`));
    assert.match(removed.out, /the store is sound now\n$/);
  });
});

Deno.test("crio check --repair --wipe empties a store that cannot be repaired, unless something is mounted there", async () => {
  await withRoots(async (roots) => {
    await skopeoInto(roots, await makeImage(roots.directory, [{ a: "1" }]), GOOD);
    const mounted = await podman(roots, "image", "mount", GOOD);
    await Deno.writeTextFile(`${roots.graphRoot}/overlay-images/images.json`, "[{");
    const plain = await check(roots, ["--repair"]);
    assert.equal(plain.code, 1);
    assert.match(plain.err, /images\.json is damaged/);
    const refused = await check(roots, ["--repair", "--wipe"]);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /1 file systems are mounted below it/);
    assert.equal(await Deno.readTextFile(`${mounted}/a`), "1");
    await tool(["umount", mounted]);
    const wiped = await check(roots, ["--repair", "--wipe"]);
    assert.equal(wiped.code, 0, wiped.err);
    assert.match(wiped.out, /removed everything in .*\nthe store is sound now\n$/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(roots.graphRoot)), []);
  });
});

Deno.test("crio check tells damage in a read-only store and does not touch it", async () => {
  await withRoots(async (share) => {
    await skopeoInto(share, await makeImage(share.directory, [{ a: "1" }]), GOOD);
    await tool(["umount", `${share.graphRoot}/overlay`]).catch(() => {});
    const [image] = JSON.parse(await Deno.readTextFile(`${share.graphRoot}/overlay-images/images.json`));
    await Deno.remove(`${share.graphRoot}/overlay/${image.layer}/diff/a`);
    await withStore(async (roots) => {
      const option = ["--storage-opt", `overlay.imagestore=${share.graphRoot}`];
      const found = await check(roots, ["--repair", "--force"], option);
      assert.equal(found.code, 3);
      assert.match(found.err, /^0 layer errors, 1 read-only layer errors, 0 image errors, 1 read-only image errors/);
      assert.ok((await Deno.stat(`${share.graphRoot}/overlay-images/${image.id}`)).isDirectory);
    });
  });
});

Deno.test("crio check repairs nothing below a daemon, and takes no nonsense", async () => {
  await withStore(async (roots, badLayer) => {
    await Deno.mkdir(`${roots.graphRoot}/crio`, { recursive: true });
    await Deno.remove(`${roots.graphRoot}/overlay/${badLayer}/diff`, { recursive: true });
    using lock = RecordLockFile.open(`${roots.graphRoot}/crio/lock`);
    assert.ok(lock.tryLock("write"));
    const { code, err } = await check(roots, ["--repair"]);
    assert.equal(code, 1);
    assert.match(err, /a crio daemon uses this store .*: stop it, containers keep running, and repair then/);
    assert.equal((await check(roots, ["--age", "soon"])).code, 2);
    assert.match((await check(roots, ["--wipe"])).err, /--wipe is for a --repair that fails/);
  });
});
