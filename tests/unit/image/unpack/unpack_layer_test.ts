import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import assert from "node:assert/strict";
import { LayerUnpacker, unpackLayer } from "../../../../src/image/unpack/unpack_layer.ts";
import { listXattrs } from "../../../../src/linux/xattr.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { layerBench } from "../../../fakes/layer_bench.ts";
import { bytesOf, END, type Entry, entryBytes, joined, paxHeader, tarOf } from "../../../fakes/tar_builder.ts";

openLibraries();

const CAPABILITY = new Uint8Array([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const OLD_SECONDS = 1_500_000_000;

/** Unpacks and gives the listing without contents' digests; the time of what has none of its own is "recent". */
async function treeOf(...entries: readonly Entry[]): Promise<string[]> {
  await using bench = await layerBench();
  await bench.unpack(tarOf(...entries));
  await bench.checkOutside();
  const lines = (await bench.tree()).split("\n").filter((line) => line !== "" && !/^[0-9a-f]{64} /.test(line));
  return lines.map((line) => line.replace(/\.0000000000$/, "").replace(/ 1[7-9]\d{8}\.\d+$/, " recent"));
}

Deno.test("unpackLayer() makes every kind of entry with its mode, owner and time", async () => {
  const tree = await treeOf(
    { name: "d/", mode: 0o1777, uid: 1, gid: 2, mtime: 100 },
    { name: "d/file", mode: 0o640, uid: 3, gid: 4, content: "hello", mtime: 101 },
    { name: "d/suid", mode: 0o6755, uid: 5, content: "x", mtime: 102 },
    { name: "link", type: "2", link: "d/file", uid: 6, mtime: 103 },
    { name: "hard", type: "1", link: "d/file", mode: 0o640, uid: 3, gid: 4, mtime: 104 },
    { name: "null", type: "3", major: 1, minor: 3, mode: 0o666, mtime: 105 },
    { name: "disk", type: "4", major: 8, minor: 17, mode: 0o660, gid: 6, mtime: 106 },
    { name: "pipe", type: "6", mode: 0o4622, mtime: 107 },
  );
  assert.deepEqual(
    tree,
    [
      "./d d 1777 1:2 100",
      "./d/file f 640 3:4 5 2  104",
      "./d/suid f 6755 5:0 1 1  102",
      "./disk b 660 0:6 0 1  106",
      "./disk device 8 11",
      "./hard f 640 3:4 5 2  104",
      "./hard same as ./d/file",
      "./d/file same as ./d/file",
      "./link l 777 6:0 6 1 d/file 103",
      "./null c 666 0:0 0 1  105",
      "./null device 1 3",
      "./pipe p 4622 0:0 0 1  107",
    ].sort(),
  );
});

Deno.test("unpackLayer() tells digest, sizes, counts, owners and the root's entry", async () => {
  await using bench = await layerBench();
  const archive = tarOf(
    { name: "./", mode: 0o700, uid: 9, gid: 1 },
    { name: "a", content: "12345", uid: 7, gid: 3 },
    { name: ".wh.b" },
  );
  const layer = await bench.unpack(archive, { chunkBytes: 100 });
  assert.equal(layer.diffId, `sha256:${createHash("sha256").update(archive).digest("hex")}`);
  const { uncompressedSizeBytes, entryCount, fileBytes, uids, gids, root } = layer;
  assert.deepEqual({ uncompressedSizeBytes, entryCount, fileBytes, uids, gids }, {
    uncompressedSizeBytes: archive.length,
    entryCount: 3,
    fileBytes: 5,
    uids: [0, 7, 9],
    gids: [0, 1, 3],
  });
  assert.deepEqual([root?.mode, root?.uid, root?.gid], [0o700, 9, 1]);
  assert.notEqual(lstatSync(bench.layer).uid, 9, "the root's entry is not applied");
});

Deno.test("unpackLayer() sets modes as they are whatever the umask is", async () => {
  const before = Deno.umask(0o077);
  try {
    assert.deepEqual(
      await treeOf({ name: "d/", mode: 0o777 }, { name: "i/f", mode: 0o666 }, { name: "p", type: "6", mode: 0o666 }),
      [
        "./d d 777 0:0 1600000000",
        "./i d 755 0:0 recent",
        "./i/f f 666 0:0 0 1  1600000000",
        "./p p 666 0:0 0 1  1600000000",
      ],
    );
  } finally {
    Deno.umask(before);
  }
});

Deno.test("unpackLayer() gives files in setgid directories the archive's owner and mode", async () => {
  const tree = await treeOf(
    { name: "g/", mode: 0o2775, gid: 8, mtime: 1 },
    { name: "g/f", mtime: 1 },
    { name: "g/d/", mtime: 1 },
    { name: "g/l", type: "2", link: "x", mtime: 1 },
  );
  assert.deepEqual(tree, [
    "./g d 2775 0:8 1",
    "./g/d d 755 0:0 1",
    "./g/f f 644 0:0 0 1  1",
    "./g/l l 777 0:0 1 1 x 1",
  ]);
});

Deno.test("unpackLayer() keeps nanoseconds, and directory times although files come later", async () => {
  const tree = await treeOf(
    { name: "d/", pax: [["mtime", "1500000000.123456789"]] },
    { name: "d/sub/", mtime: 5 },
    { name: "d/sub/f", pax: [["mtime", "2.5"]] },
    { name: "d/g", type: "1", link: "d/sub/f", pax: [["mtime", "3.5"]] },
  );
  assert.ok(tree.includes("./d d 755 0:0 1500000000.1234567890"));
  assert.ok(tree.includes("./d/sub d 755 0:0 5"));
  assert.ok(tree.includes("./d/g f 644 0:0 0 2  3.5000000000"));
});

Deno.test("unpackLayer() makes missing parents, owned by root", async () => {
  assert.deepEqual((await treeOf({ name: "a/b/c", uid: 5 })).slice(0, 2), [
    "./a d 755 0:0 recent",
    "./a/b d 755 0:0 recent",
  ]);
});

Deno.test("unpackLayer() sets attributes, but no SELinux labels and nothing of overlay's own", async () => {
  await using bench = await layerBench();
  await bench.unpack(tarOf(
    {
      name: "f",
      content: "x",
      uid: 4,
      pax: [["SCHILY.xattr.user.a", "1"], ["SCHILY.xattr.security.capability", CAPABILITY]],
    },
    { name: "h", type: "1", link: "f", uid: 4 },
    {
      name: "d/",
      pax: [
        ["SCHILY.xattr.security.selinux", "label"],
        ["SCHILY.xattr.trusted.overlay.redirect", "/etc"],
        ["SCHILY.xattr.trusted.overlay.metacopy", ""],
        ["SCHILY.xattr.trusted.other", "kept"],
        ["SCHILY.xattr.bogus.name", "ignored"],
      ],
    },
  ));
  assert.deepEqual(listXattrs(`${bench.layer}/h`), ["security.capability", "user.a"]);
  assert.deepEqual(listXattrs(`${bench.layer}/d`), ["trusted.other"]);
});

Deno.test("unpackLayer() turns whiteouts into overlay's form", async () => {
  const tree = await treeOf(
    { name: ".wh.gone", uid: 3, gid: 4 },
    { name: "d/" },
    { name: "d/.wh..wh..opq" },
    { name: "d/new" },
    { name: "e/.wh..wh..opq" },
    { name: ".wh..wh.plnk/" },
    { name: ".wh.x/" },
    { name: "x/.wh.y" },
  );
  assert.deepEqual(tree.filter((line) => !line.startsWith("./d")), [
    "# file: d trusted.overlay.opaque=0x79",
    "# file: e trusted.overlay.opaque=0x79",
    "./e d 755 0:0 recent",
    "./gone c 0 3:4 0 1  recent",
    "./gone device 0 0",
    "./x c 0 0:0 0 1  recent",
    "./x device 0 0",
  ]);
});

Deno.test("unpackLayer() lets a later entry win, also over another type and over whole directories", async () => {
  assert.deepEqual(await treeOf({ name: "a" }, { name: "a", content: "xy", mode: 0o600 }), [
    "./a f 600 0:0 2 1  1600000000",
  ]);
  assert.deepEqual(await treeOf({ name: "a/" }, { name: "a/b/c" }, { name: "a", type: "2", link: "z" }), [
    "./a l 777 0:0 1 1 z 1600000000",
  ]);
  assert.deepEqual(await treeOf({ name: "a", type: "3" }, { name: "a/", mode: 0o711, mtime: 3 }), ["./a d 711 0:0 3"]);
  assert.deepEqual(await treeOf({ name: "a/", mode: 0o700 }, { name: "a/", mode: 0o750, uid: 5, mtime: 9 }), [
    "./a d 750 5:0 9",
  ]);
  assert.deepEqual(await treeOf({ name: "a" }, { name: ".wh.a" }), ["./a c 0 0:0 0 1  recent", "./a device 0 0"]);
  assert.deepEqual(await treeOf({ name: ".wh.a" }, { name: "a" }), ["./a f 644 0:0 0 1  1600000000"]);
});

Deno.test("unpackLayer() replaces one name of a hard-linked file without touching the other", async () => {
  const tree = await treeOf(
    { name: "a", content: "one", mtime: OLD_SECONDS },
    { name: "b", type: "1", link: "a", mtime: OLD_SECONDS },
    { name: "b", content: "three" },
  );
  assert.deepEqual(tree, [`./a f 644 0:0 3 1  ${OLD_SECONDS}`, "./b f 644 0:0 5 1  1600000000"]);
});

Deno.test("unpackLayer() leaves holes in sparse files", async () => {
  await using bench = await layerBench();
  const sizeBytes = 64 << 20;
  await bench.unpack(
    tarOf({
      name: "s",
      content: "abcdefg",
      pax: [["GNU.sparse.size", `${sizeBytes}`], ["GNU.sparse.numblocks", "2"], ["GNU.sparse.map", "0,3,1000000,4"]],
    }),
    { chunkBytes: 5 },
  );
  const stat = lstatSync(`${bench.layer}/s`);
  assert.equal(stat.size, sizeBytes);
  assert.ok(stat.blocks < 100, `${stat.blocks} blocks`);
  const bytes = await Deno.readFile(`${bench.layer}/s`);
  assert.equal(new TextDecoder().decode(bytes.subarray(1_000_000, 1_000_004)), "defg");
});

Deno.test("unpackLayer() writes a tar-split record from which the archive can be made again", async () => {
  await using bench = await layerBench();
  const archive = joined(
    paxHeader([["comment", "x"]], "g"),
    entryBytes({ name: "./" }),
    entryBytes({ name: new Uint8Array([0x61, 0xff]), content: "not utf-8" }),
    entryBytes({ name: 'é"<&>', content: "y".repeat(600) }),
    entryBytes({ name: "d/" }),
    entryBytes({ name: "./d/", mode: 0o700 }),
    entryBytes({ name: "../up", content: "name leads out" }),
    entryBytes({
      name: "sparse",
      content: "abcdefg",
      pax: [["GNU.sparse.size", "9000"], ["GNU.sparse.numblocks", "2"], ["GNU.sparse.map", "0,3,1000,4"]],
    }),
    entryBytes({ name: "empty" }),
    END,
    bytesOf("trailing ".repeat(20_000)),
  );
  await bench.unpack(archive, { chunkBytes: 3000 });
  const lines = gunzipSync(await Deno.readFile(bench.tarSplit)).toString("utf8").trim().split("\n")
    .map((line) => JSON.parse(line) as SplitLine);
  assert.deepEqual(lines.map((line) => line.position), lines.map((_, i) => i));
  assert.deepEqual(await assemble(bench.layer, lines), archive);
  const names = lines.filter((line) => line.type === 1).map((line) => line.name ?? `raw ${line.name_raw}`);
  assert.deepEqual(names, ["pax_global_header", "./", "raw Yf8=", 'é"<&>', "d/", "../up", "sparse", "empty"]);
});

interface SplitLine {
  readonly type: number;
  readonly name?: string;
  readonly name_raw?: string;
  readonly size?: number;
  readonly payload: string | null;
  readonly position: number;
}

/** Stands in names for what is not UTF-8; Deno cannot open such files. */
const NOT_UTF8 = "\ufffd";

async function assemble(directory: string, lines: readonly SplitLine[]): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const files = new Map<string, Uint8Array>();
  for await (const file of Deno.readDir(directory)) {
    const isText = !file.name.includes(NOT_UTF8);
    if (file.isFile && isText) files.set(file.name, await Deno.readFile(`${directory}/${file.name}`));
  }
  for (const line of lines) {
    if (line.type === 2) pieces.push(Uint8Array.fromBase64(line.payload ?? ""));
    else if ((line.size ?? 0) > 0) pieces.push(files.get(line.name ?? "") ?? bytesOf("not utf-8"));
  }
  return joined(...pieces);
}

Deno.test("unpackLayer() gives the event loop turns and does not stall when the compressor falls behind", async () => {
  await using bench = await layerBench();
  const archive = tarOf(...Array.from({ length: 4000 }, (_, i) => ({ name: `f${i}`, content: `${i}` })));
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const layer = await bench.unpack(archive, { chunkBytes: 70_000 });
  clearInterval(timer);
  assert.equal(layer.entryCount, 4000);
  assert.ok(turns > 5, `${turns} turns`);
});

Deno.test("unpackLayer() stops with the signal's reason, also while the source hangs", async () => {
  await using bench = await layerBench();
  const controller = new AbortController();
  const reason = new Error("enough");
  const hanging: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        queueMicrotask(() => controller.abort(reason));
        return Promise.withResolvers<IteratorResult<Uint8Array>>().promise;
      },
    }),
  };
  const options = { directory: bench.layer, tarSplitPath: bench.tarSplit, signal: controller.signal };
  await assert.rejects(unpackLayer(hanging, options), reason);
  await assert.rejects(Deno.stat(bench.tarSplit), Deno.errors.NotFound);
  await assert.rejects(bench.unpack(tarOf({ name: "a" }), { signal: controller.signal }), reason);
});

Deno.test("unpackLayer() passes on what the source throws, and reports progress", async () => {
  await using bench = await layerBench();
  const progress: number[] = [];
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield tarOf({ name: "a" }).subarray(0, 512);
    throw new TypeError("connection lost");
  }
  await assert.rejects(
    unpackLayer(broken(), {
      directory: bench.layer,
      tarSplitPath: bench.tarSplit,
      onProgress: ({ uncompressedBytes }) => progress.push(uncompressedBytes),
    }),
    /connection lost/,
  );
  assert.deepEqual(progress, [512]);
  await assert.rejects(Deno.stat(bench.tarSplit), Deno.errors.NotFound);
});

Deno.test("unpackLayer() never overwrites a tar-split file", async () => {
  await using bench = await layerBench();
  await Deno.writeTextFile(bench.tarSplit, "precious");
  await assert.rejects(bench.unpack(tarOf({ name: "a" })), /EEXIST/);
  assert.equal(await Deno.readTextFile(bench.tarSplit), "precious");
});

Deno.test("LayerUnpacker takes pushed chunks and refuses more after its end", async () => {
  await using bench = await layerBench();
  using unpacker = new LayerUnpacker({ directory: bench.layer });
  const archive = tarOf({ name: "a", content: "x" });
  unpacker.write(archive.subarray(0, 700));
  unpacker.write(archive.subarray(700));
  assert.equal((await unpacker.end()).entryCount, 1);
  assert.throws(() => unpacker.write(archive), /takes no more/);
  await assert.rejects(unpacker.end(), /cannot end again/);
});
