/** What skopeo (containers/storage) makes of layers, against what we make of them. */
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import assert from "node:assert/strict";
import { verifyLayer } from "../../src/image/unpack/verify_layer.ts";
import { runCommand } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { type LayerBench, layerBench } from "../fakes/layer_bench.ts";
import { type SkopeoStore, skopeoStore } from "../fakes/skopeo_store.ts";
import {
  base256,
  bytesOf,
  END,
  type Entry,
  entryBytes,
  gnuLong,
  joined,
  paxHeader,
  tarOf,
} from "../fakes/tar_builder.ts";
import { treeSnapshot } from "../fakes/tree_snapshot.ts";

openLibraries();

const CAPABILITY = new Uint8Array([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const file = (name: string, more: Partial<Entry> = {}): Entry => ({ name, content: `content of ${name}`, ...more });
const hard = (name: string, link: string, more: Partial<Entry> = {}): Entry => ({ name, type: "1", link, ...more });
const soft = (name: string, link: string, more: Partial<Entry> = {}): Entry => ({ name, type: "2", link, ...more });
const xattr = (name: string, value: string | Uint8Array): readonly [string, string | Uint8Array] => [
  `SCHILY.xattr.${name}`,
  value,
];

/** Layers that both take, and that come out the same: files, and tar-split. */
const SAME: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  rootEntry: tarOf({ name: "./", mode: 0o700, uid: 5 }, file("./a")),
  absolute: tarOf(file("/etc/a"), file("b/./c"), { name: "..", type: "5", mode: 0o711 }),
  implied: tarOf(file("p/q/r"), { name: "g/", mode: 0o2775, gid: 8 }, file("g/i/j"), soft("g/l", "x")),
  linkedParent: tarOf({ name: "etc/" }, soft("a", "/etc"), file("a/passwd")),
  hardLinks: tarOf(
    file("a", { mode: 0o4755, uid: 7 }),
    hard("b", "a", { mode: 0o4755, uid: 7 }),
    hard("c", "/a", { mode: 0o600, uid: 9, mtime: 5 }),
    soft("s", "nowhere", { mtime: 6 }),
    hard("t", "s"),
    hard("sized", "a", { size: 0 }),
  ),
  capability: tarOf(
    file("a", { pax: [xattr("security.capability", CAPABILITY), xattr("user.bin", new Uint8Array([0, 1, 255]))] }),
    hard("b", "a", { mode: 0o644, pax: [xattr("security.capability", CAPABILITY)] }),
    { name: "d/", pax: [xattr("security.selinux", "x"), xattr("trusted.overlay.opaque", "y"), xattr("bogus.k", "v")] },
    soft("s", "a", { pax: [xattr("trusted.s", "1")] }),
  ),
  whiteouts: tarOf(
    { name: ".wh.a" },
    { name: "d/" },
    { name: "d/.wh.b", uid: 4, gid: 5 },
    { name: "o/" },
    { name: "o/.wh..wh..opq" },
    file("o/x"),
    { name: "i/j/.wh..wh..opq" },
    { name: ".wh.gone" },
    { name: "gone/.wh.x" },
    { name: ".wh.back" },
    file("back"),
    { name: ".wh.dir" },
    { name: "dir/" },
    file("dir/x"),
  ),
  opaqueRoot: tarOf({ name: ".wh..wh..opq" }, file("x")),
  devices: tarOf(
    { name: "c", type: "3", major: 1, minor: 3, mode: 0o666 },
    { name: "b", type: "4", major: 8, minor: 1, mode: 0o660, gid: 6 },
    { name: "p", type: "6", mode: 0o4777 },
    { name: "w", type: "3" },
    { name: "large", type: "3", major: 259, minor: 300_000 },
  ),
  modes: tarOf(
    file("suid", { mode: 0o4755, uid: 1 }),
    file("sgid", { mode: 0o2755, gid: 8 }),
    { name: "t/", mode: 0o1777 },
    { name: "g/", mode: 0o2775, gid: 8 },
    file("g/in"),
    { name: "g/sub/" },
    file("none", { mode: 0 }),
    file("all", { mode: 0o7777 }),
    file("typed", { mode: 0o100644 }),
  ),
  pax: tarOf(
    file("x", { pax: [["path", "really/" + "long/".repeat(30) + "name"], ["mtime", "1500000000.123456789"]] }),
    file("ids", { pax: [["uid", "100000"], ["gid", "3000000000"]] }),
    file("early", { pax: [["mtime", "-1.5"]] }),
    file("late", { mtime: base256(1e15, 12) }),
    file("cut", { pax: [["mtime", "1500000000.1234567899"]] }),
    soft("s", "", { pax: [["linkpath", "é".repeat(60)]] }),
    file("size", { content: "hello", size: 0, pax: [["size", "5"]] }),
    file("empty", { pax: [["path", ""], ["uid", ""]] }),
  ),
  global: joined(paxHeader([["comment", "x"], ["path", "other"]], "g"), tarOf(file("a"))),
  gnu: joined(
    gnuLong("L", "g/" + "n".repeat(180)),
    entryBytes(file("short", { format: "gnu" })),
    gnuLong("K", "t".repeat(150)),
    tarOf(soft("l", "x", { format: "gnu", mtime: base256(1_700_000_000, 12), uid: base256(4_000_000, 8) })),
  ),
  old: tarOf(
    file("a", { format: "old" }),
    { name: "d/", type: "\0", format: "old" },
    file("e", { type: "\0", format: "old" }),
    file("name", { prefix: "some/pre/fix" }),
    file("slash/", { type: "0" }),
  ),
  names: tarOf(
    { name: new Uint8Array([0x61, 0xff, 0xfe]), content: "x" },
    { name: 'é"<&>\t' },
    { name: new Uint8Array([0x62, 0xe9]), content: "y", checksum: "signed" },
  ),
  noEnd: entryBytes(file("a")),
  halfEnd: joined(entryBytes(file("a")), new Uint8Array(512)),
  trailing: joined(tarOf(file("a")), bytesOf("garbage".repeat(1000))),
  empty: new Uint8Array(),
  onlyEnd: END,
};

/** Layers that both refuse. */
const REFUSED: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  linkToHost: tarOf(soft("a", "/etc"), file("a/passwd")),
  hardLinkOut: tarOf(hard("b", "../../../../../etc/passwd")),
  hardLinkEarly: tarOf(hard("b", "a"), file("a")),
  hardLinkToDirectory: tarOf({ name: "d/" }, hard("b", "d")),
  whiteoutOfNothing: tarOf({ name: ".wh." }),
  whiteoutOfParent: tarOf({ name: "d/" }, { name: "d/.wh..." }),
  nulInPath: tarOf(file("a", { pax: [["path", "a\0b"]] })),
  unknownType: tarOf(file("a", { type: "V" })),
  zeroBlockInside: joined(entryBytes(file("a")), new Uint8Array(512), tarOf(file("b"))),
  fileAsParent: tarOf(file("a"), file("a/b")),
  linkCircle: tarOf(soft("a", "a"), file("a/b")),
  emptyLink: tarOf(soft("a", "")),
  hugeHeader: tarOf(file("a", { pax: [["comment", "x".repeat(1 << 20)]] })),
};

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** tar-split's lines, adjacent segments joined: where one ends and the next begins is the writer's choice. */
async function splitOf(path: string): Promise<unknown[]> {
  const items: unknown[] = [];
  let segment = "";
  for (const line of gunzipSync(await Deno.readFile(path)).toString("utf8").trim().split("\n")) {
    if (line === "") continue;
    const { type, payload, position: _, ...rest } = JSON.parse(line) as Record<string, unknown>;
    if (type === 2) segment += Uint8Array.fromBase64(String(payload ?? "")).toHex();
    else {
      items.push(segment, { ...rest, payload });
      segment = "";
    }
  }
  return [...items, segment];
}

async function withStore(use: (store: SkopeoStore, bench: LayerBench) => Promise<void>): Promise<void> {
  await using store = skopeoStore(await Deno.makeTempDir({ prefix: "skopeo-" }));
  await using bench = await layerBench();
  await use(store, bench);
}

for (const [name, archive] of Object.entries(SAME)) {
  Deno.test(`layer "${name}" becomes the same files and tar-split as with skopeo`, () =>
    withStore(async (store, bench) => {
      const recentSeconds = Math.floor(Date.now() / 1000) - 5;
      await loadChecked(store, archive);
      const layer = await bench.unpack(archive);
      const theirs = store.layer(layer.diffId);
      assert.ok(theirs !== undefined);
      const [ours, expected] = [bench.layer, theirs.diff].map((path) => treeSnapshot(path, { recentSeconds }));
      assert.equal(await ours, await expected);
      assert.deepEqual(await splitOf(bench.tarSplit), await splitOf(theirs.tarSplit));
      const { diffId, uncompressedSizeBytes: sizeBytes } = layer;
      for (
        const place of [{ directory: bench.layer, tarSplitPath: bench.tarSplit }, {
          directory: theirs.diff,
          tarSplitPath: theirs.tarSplit,
        }]
      ) {
        assert.deepEqual(await verifyLayer({ ...place, diffId, sizeBytes }), { kind: "sound" });
      }
    }));
}

async function loadChecked(store: SkopeoStore, archive: Uint8Array): Promise<void> {
  const loaded = await store.load("image", [archive]);
  assert.equal(loaded.exitCode, 0, new TextDecoder().decode(loaded.stderr));
}

for (const [name, archive] of Object.entries(REFUSED)) {
  Deno.test(`layer "${name}" is refused by skopeo and by us`, () =>
    withStore(async (store, bench) => {
      assert.notEqual((await store.load("image", [archive])).exitCode, 0);
      await assert.rejects(bench.unpack(archive), { name: "LayerError" });
      await bench.checkOutside();
    }));
}

/** Layers that skopeo writes out of a store again only from our record, not from its own (or does not take at all). */
const BETTER: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  sparse: tarOf(
    file("s", {
      content: "abcdefg",
      pax: [["GNU.sparse.size", "9000"], ["GNU.sparse.numblocks", "2"], ["GNU.sparse.map", "0,3,5000,4"]],
    }),
    file("after"),
  ),
  upward: tarOf(file("../up"), file("b")),
  sizedDirectory: tarOf({ name: "d/", size: 100 }, file("a")),
  whiteoutWithContent: tarOf(file(".wh.a"), file("b")),
};

for (const [name, archive] of Object.entries({ ...SAME, ...BETTER })) {
  // These two hold a name whose parent is a symbolic link, which skopeo follows on the host when it reads.
  if (name === "linkedParent") continue;
  Deno.test(`skopeo makes layer "${name}" again, byte for byte, from what we wrote`, () =>
    withStore(async (store, bench) => {
      await loadChecked(store, archive);
      const { diffId } = await bench.unpack(archive);
      const theirs = store.layer(diffId);
      assert.ok(theirs !== undefined);
      await Deno.remove(theirs.diff, { recursive: true });
      await runCommand(["/bin/cp", "-a", bench.layer, theirs.diff]);
      await Deno.copyFile(bench.tarSplit, theirs.tarSplit);
      const out = `${store.runRoot}/out`;
      await runCommand([
        "/usr/bin/skopeo",
        "--insecure-policy",
        "copy",
        "--dest-decompress",
        store.image("image"),
        `dir:${out}`,
      ], { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: store.root } });
      const blob = await Deno.readFile(`${out}/${diffId.slice("sha256:".length)}`);
      assert.equal(digestOf(blob), diffId);
    }));
}
