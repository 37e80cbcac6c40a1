import assert from "node:assert/strict";
import { type LayerContent, type LayerVerdict, verifyLayer } from "../../../../src/image/unpack/verify_layer.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { type LayerBench, layerBench } from "../../../fakes/layer_bench.ts";
import { type Entry, tarOf } from "../../../fakes/tar_builder.ts";

openLibraries();

const ENTRIES: readonly Entry[] = [
  { name: "./", mode: 0o700 },
  { name: "d/", mode: 0o1777, uid: 1, gid: 2 },
  { name: "d/file", mode: 0o640, uid: 3, gid: 4, content: "hello" },
  { name: "d/empty" },
  { name: "implied/deep/file", content: "x".repeat(600_000) },
  { name: "link", type: "2", link: "d/file" },
  { name: "hard", type: "1", link: "d/file", mode: 0o600, uid: 7 },
  { name: "null", type: "3", major: 1, minor: 3, mode: 0o666 },
  { name: "pipe", type: "6", mode: 0o4622 },
  { name: "d/.wh.gone", uid: 9 },
  { name: "o/.wh..wh..opq" },
  { name: "late" },
  { name: "late/", mode: 0o711 },
];

/** Unpacks, lets `harm` change something, and verifies. */
async function verdict(
  entries: readonly Entry[],
  harm: (bench: LayerBench) => Promise<unknown> = () => Promise.resolve(),
  more: Partial<LayerContent> = {},
): Promise<LayerVerdict> {
  await using bench = await layerBench();
  const { diffId, uncompressedSizeBytes: sizeBytes } = await bench.unpack(tarOf(...entries));
  await harm(bench);
  return await verifyLayer({ directory: bench.layer, tarSplitPath: bench.tarSplit, diffId, sizeBytes, ...more });
}

Deno.test("verifyLayer() finds what was unpacked sound, with everything that an archive can hold", async () => {
  assert.deepEqual(await verdict(ENTRIES), { kind: "sound" });
  const throughLink = [{ name: "etc/" }, { name: "a", type: "2", link: "/etc" }, { name: "a/x", content: "1" }];
  assert.deepEqual(await verdict(throughLink), { kind: "sound" });
  assert.deepEqual(await verdict([]), { kind: "sound" });
});

const HARMS: readonly (readonly [string, (layer: string) => Promise<unknown>, RegExp])[] = [
  ["other content", (layer) => Deno.writeTextFile(`${layer}/d/file`, "HELLO"), /content of its files is not/],
  ["a cut file", (layer) => Deno.truncate(`${layer}/implied/deep/file`, 0), /has 0 bytes, and should have 600000/],
  ["a missing file", (layer) => Deno.remove(`${layer}/implied/deep/file`), /"implied\/deep\/file" is missing/],
  ["a missing empty file", (layer) => Deno.remove(`${layer}/d/empty`), /"d\/empty" is missing, a file/],
  ["a missing link", (layer) => Deno.remove(`${layer}/link`), /"link" is missing, a symlink/],
  ["a missing whiteout", (layer) => Deno.remove(`${layer}/d/gone`), /"d\/gone" is missing, a whiteout/],
  ["one file more", (layer) => Deno.writeTextFile(`${layer}/d/more`, ""), /"d\/more" is there and not in the archive/],
  ["another mode", (layer) => Deno.chmod(`${layer}/d`, 0o755), /"d" has mode 755, not 1777/],
  ["another owner", (layer) => Deno.chown(`${layer}/d`, 5, 5), /"d" belongs to 5:5, not 1:2/],
  ["another type", async (layer) => {
    await Deno.remove(`${layer}/d/empty`);
    await Deno.mkdir(`${layer}/d/empty`);
  }, /"d\/empty" is a directory, not a file/],
];
for (const [what, harm, expected] of HARMS) {
  Deno.test(`verifyLayer() finds ${what}`, async () => {
    const found = await verdict(ENTRIES, (bench) => harm(bench.layer));
    assert.match(found.kind === "damaged" ? found.reason : found.kind, expected);
  });
}

Deno.test("verifyLayer() compares the recorded length, and owners only where they are the archive's", async () => {
  const longer = await verdict(ENTRIES, undefined, { sizeBytes: 5 });
  assert.match(longer.kind === "damaged" ? longer.reason : "", /bytes, and 5 are recorded/);
  const mapped = await verdict(ENTRIES, (bench) => Deno.chown(`${bench.layer}/d`, 5, 5), { owners: false });
  assert.equal(mapped.kind, "sound");
});

Deno.test("verifyLayer() calls nothing damaged that it cannot tell", async () => {
  const none = await verdict(ENTRIES, (bench) => Deno.remove(bench.tarSplit));
  assert.equal(none.kind, "unverifiable");
  const replaced = [{ name: "r/in/it", content: "1" }, { name: "r", content: "2" }];
  assert.equal((await verdict(replaced)).kind, "unverifiable");
  const twice = await verdict([{ name: "a", content: "1" }, { name: "a", content: "22" }]);
  assert.match(twice.kind === "unverifiable" ? twice.reason : twice.kind, /"a" more than once/);
  assert.equal((await verdict(ENTRIES, undefined, { diffId: "md5:00" })).kind, "unverifiable");
});

Deno.test("verifyLayer() takes a cut tar-split record for damage and follows no link out of the layer", async () => {
  const cut = await verdict(ENTRIES, async (bench) => {
    const bytes = await Deno.readFile(bench.tarSplit);
    await Deno.writeFile(bench.tarSplit, bytes.subarray(0, bytes.length / 2));
  });
  assert.equal(cut.kind, "damaged");
  const led = await verdict(ENTRIES, async (bench) => {
    await Deno.remove(`${bench.layer}/d/file`);
    await Deno.writeTextFile(`${bench.layer}/../sibling`, "hello");
    await Deno.symlink("../../sibling", `${bench.layer}/d/file`);
  });
  assert.match(led.kind === "damaged" ? led.reason : "", /"d\/file" is missing/);
});
