import assert from "node:assert/strict";
import { cpuUsage } from "node:process";
import fc from "fast-check";
import { PodError } from "../../../../src/base/errors.ts";
import { LayerError } from "../../../../src/image/unpack/layer_error.ts";
import type { LayerLimits } from "../../../../src/image/unpack/unpack_layer.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { layerBench } from "../../../fakes/layer_bench.ts";
import { END, type Entry, entryBytes, gnuLong, joined, tarOf } from "../../../fakes/tar_builder.ts";

openLibraries();

/** Unpacks; whatever comes of it, nothing outside may have changed. */
async function attempt(archive: Uint8Array<ArrayBuffer>, limits: LayerLimits = {}): Promise<string> {
  await using bench = await layerBench();
  try {
    await bench.unpack(archive, { limits });
    return await bench.tree();
  } catch (error) {
    if (!(error instanceof LayerError)) throw error;
    await assert.rejects(Deno.stat(bench.tarSplit), Deno.errors.NotFound);
    return `${error.kind}: ${error.message}`;
  } finally {
    await bench.checkOutside();
  }
}

const link = (name: string, to: string): Entry => ({ name, type: "2", link: to });
const hard = (name: string, to: string): Entry => ({ name, type: "1", link: to });

Deno.test("names that lead out are confined to the layer", async () => {
  for (const name of ["../outside/secret", "/outside/secret", "a/../../outside/secret", "//../outside/secret"]) {
    assert.match(await attempt(tarOf({ name, content: "changed" })), /\.\/outside\/secret f/, name);
  }
  assert.match(await attempt(tarOf({ name: "..", type: "5", mode: 0 }, { name: "a" })), /^[0-9a-f]+ {2}\.\/a|\.\/a f/m);
});

Deno.test("symbolic links as parents never lead out", async () => {
  for (const to of ["..", "../..", "../../outside", "/", "/proc/self/root", "/proc/self/cwd/..", "../../../../../.."]) {
    const archive = tarOf(link("l", to), { name: "l/outside/secret", content: "changed" }, { name: "l/secret" });
    await attempt(archive);
    await attempt(tarOf(link("a", to), link("b", "a"), { name: "b/x/" }, { name: "b/secret", type: "6" }));
    await attempt(tarOf(link("l", to), { name: ".wh.l/secret" }, { name: "l/.wh.secret" }, { name: "l/.wh..wh..opq" }));
  }
});

Deno.test("replacing things behind a symbolic link never removes anything outside", async () => {
  for (const to of ["../../outside", "/", "../../outside/etc", ".", ".."]) {
    await attempt(tarOf(link("l", to), { name: "l", type: "5" }, { name: "l/etc" }));
    await attempt(tarOf(link("l", to), { name: "l/etc" }, link("l/etc", to), { name: "l/etc/passwd" }));
    await attempt(tarOf({ name: "d/" }, link("d/l", to), { name: "d" }));
    await attempt(tarOf({ name: "d/" }, link("d/l", to), { name: ".wh.d" }));
  }
});

Deno.test("hard links cannot reach outside", async () => {
  for (const to of ["../outside/secret", "/outside/secret", "../../../../../../etc/passwd", "/proc/self/exe"]) {
    assert.match(await attempt(tarOf(hard("h", to), { name: "h", content: "changed" })), /invalid_argument: .*ENOENT/);
  }
  const through = await attempt(tarOf(link("l", "../../outside"), hard("h", "l/secret")));
  assert.match(through, /invalid_argument: .*"h" at byte 512: .*ENOENT/);
  await attempt(tarOf(link("l", "../../outside/secret"), hard("h", "l"), { name: "h", content: "changed" }));
  assert.match(await attempt(tarOf(hard("h", "/"))), /invalid_argument: .*root directory/);
  assert.match(await attempt(tarOf({ name: "d/" }, hard("h", "d"))), /invalid_argument: .*EPERM/);
  assert.match(await attempt(tarOf(hard("h", "later"), { name: "later" })), /invalid_argument: .*ENOENT/);
});

Deno.test("devices and fifos are made and never opened", async () => {
  const fifo = tarOf(
    { name: "p", type: "6" },
    { name: "p", content: "data" },
    { name: "p2", type: "6" },
    hard("p3", "p2"),
  );
  assert.match(await attempt(fifo), /\.\/p f 644/);
  const disk = tarOf({ name: "disk", type: "4", major: 254, minor: 0 }, { name: "disk", content: "overwritten" });
  assert.match(await attempt(disk), /\.\/disk f 644/);
  const below = tarOf({ name: "null", type: "3", major: 1, minor: 3 }, { name: "null/x" });
  assert.match(await attempt(below), /invalid_argument: .*ENOTDIR/);
});

Deno.test("whiteouts of nothing, of the directory itself and of its parent are refused", async () => {
  for (const name of [".wh.", "d/.wh.", ".wh..", "d/.wh..", ".wh...", "d/.wh..."]) {
    assert.match(await attempt(tarOf({ name: "d/" }, { name })), /invalid_argument: .*names no file/, name);
  }
});

Deno.test("links in circles and names that are too long give an error", async () => {
  assert.match(await attempt(tarOf(link("a", "b"), link("b", "a"), { name: "a/x" })), /invalid_argument: .*ELOOP/);
  assert.match(await attempt(tarOf(link("a", "nowhere"), { name: "a/x" })), /invalid_argument: .*ENOENT/);
  const long = joined(gnuLong("L", "n".repeat(300)), tarOf({ name: "x" }));
  assert.match(await attempt(long), /invalid_argument: .*ENAMETOOLONG/);
  const deep = joined(gnuLong("L", "d/".repeat(2000)), tarOf({ name: "x" }));
  assert.match(await attempt(deep), /\.\/d\/d\/d/);
  const noText = joined(gnuLong("L", "d/".repeat(100)), tarOf({ name: "x" }));
  noText[512 + 20] = 0xff;
  assert.match(await attempt(noText), /\.\/d\/d\/d/);
  assert.match(await attempt(tarOf({ name: "s", type: "2" })), /invalid_argument: .*ENOENT/);
});

/** Each link leads to the end of what lies below the one before: a chain of `links` times `depth` directories. */
function chain(links: number, depth: number): Uint8Array {
  const pieces = Array.from({ length: links }, (_, i) => {
    const down = `${i === 0 ? "" : `l${i - 1}/`}${"d/".repeat(depth)}`;
    return joined(
      gnuLong("L", down),
      entryBytes({ name: "x", type: "5" }),
      gnuLong("K", down),
      entryBytes(link(`l${i}`, "x")),
    );
  });
  return joined(...pieces);
}

Deno.test("directories that lie deeper than a path can name are refused, soon", async () => {
  const before = cpuUsage();
  for (const [links, depth] of [[39, 2040], [3, 1000]] as const) {
    const result = await attempt(joined(chain(links, depth), END));
    assert.match(result, /invalid_argument: .*ENAMETOOLONG/, `${links} links, ${depth} directories each`);
  }
  const { user, system } = cpuUsage(before);
  assert.ok(user + system < 5_000_000, `${user} us and ${system} us`);
});

Deno.test("a tree as deep as it may get is removed when something takes its place", async () => {
  const replaced = joined(chain(39, 32), tarOf({ name: "d", content: "file" }));
  assert.match(await attempt(replaced), /\.\/d f 644/);
});

Deno.test("a name with a NUL ends there in a header block and is refused in a PAX record", async () => {
  assert.match(await attempt(tarOf({ name: "a\0../../x" })), /^.*\.\/a f/m);
  assert.match(await attempt(tarOf({ name: "a", pax: [["path", "b\0/../../x"]] })), /data_loss: .*malformed/);
  const inGnu = joined(gnuLong("L", "a\0../../x"), tarOf({ name: "b" }));
  assert.match(await attempt(inGnu), /\.\/a f/);
});

Deno.test("bombs run into limits", async () => {
  const many = tarOf(...Array.from({ length: 11 }, (_, i) => ({ name: `${i}` })));
  assert.match(await attempt(many, { maxEntries: 10 }), /invalid_argument: .*more than 10 entries/);
  const implied = tarOf({ name: "a/b/c/d/e" }, { name: "x" });
  assert.match(await attempt(implied, { maxEntries: 4 }), /invalid_argument: .*more than 4 entries/);
  const big = tarOf({ name: "a", content: "x".repeat(3000) });
  assert.match(await attempt(big, { maxUncompressedBytes: 2000 }), /invalid_argument: .*more than 2000 bytes/);
  const sparse: Entry = {
    name: "s",
    content: "x",
    pax: [["GNU.sparse.size", "9007199254740991"], ["GNU.sparse.numblocks", "1"], ["GNU.sparse.map", "0,1"]],
  };
  assert.match(await attempt(tarOf(sparse)), /invalid_argument: .*files of more than/);
  const claimed = entryBytes({ name: "a", size: "77777777777\0" });
  assert.match(await attempt(claimed), /data_loss: .*cut/);
  assert.match(
    await attempt(tarOf({ name: "x", pax: [["path", "p".repeat(200)]] }), { maxPathBytes: 100 }),
    /100 bytes/,
  );
  assert.match(
    await attempt(tarOf({ name: "a", pax: [["comment", "x".repeat(2 << 20)]] })),
    /invalid_argument: .*limit/,
  );
});

Deno.test("a failing file system is not blamed on the archive", async () => {
  await using bench = await layerBench();
  await assert.rejects(
    bench.unpack(tarOf({ name: "s", type: "2", link: "x", pax: [["SCHILY.xattr.user.k", "v"]] })),
    (error) => error instanceof LayerError && error.kind === "permission_denied",
  );
});

const SMALL = joined(
  entryBytes({ name: "d/" }),
  entryBytes({ name: "d/file", content: "x".repeat(1300), pax: [["mtime", "5.5"]] }),
  gnuLong("L", "n".repeat(120)),
  entryBytes({ name: "n", content: "y" }),
  entryBytes(hard("h", "d/file")),
  entryBytes(link("l", "../../outside")),
  entryBytes({ name: ".wh.w" }),
  END,
);

Deno.test("an archive cut anywhere gives an error, or ends between entries", async () => {
  const ends: number[] = [];
  for (let cut = 0; cut < SMALL.length; cut += 256) {
    const result = await attempt(SMALL.slice(0, cut));
    if (result.startsWith("data_loss: ")) assert.match(result, /is cut after \d+ bytes/);
    else ends.push(cut);
  }
  // After: nothing, d/, d/file, the long name's file (twice: its padding may lack), h, l, the whiteout, one zero block.
  assert.deepEqual(ends, [0, 512, 3584, 5376, 5632, 6144, 6656, 7168, 7680]);
});

const bounded = { numRuns: 400 } as const;

Deno.test("an archive with changed bytes is unpacked inside the layer or refused", async () => {
  const change = fc.record({ at: fc.nat(SMALL.length - 1), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
      const archive = SMALL.slice();
      for (const { at, byte } of changes) archive[at] = byte;
      await harmless(archive);
    }),
    bounded,
  );
});

const name = fc.array(fc.constantFrom("a", "b", "..", ".", "", "l", ".wh.a", ".wh..wh..opq", "outside", "secret"), {
  minLength: 1,
  maxLength: 4,
}).map((parts) => parts.join("/"));
const entry = fc.record({
  name,
  type: fc.constantFrom("0", "1", "2", "3", "4", "5", "6", "7", "\0"),
  link: fc.oneof(name, fc.constantFrom("/", "../..", "../../outside", "/proc/self/root", "l")),
  mode: fc.nat(0o7777),
  uid: fc.nat(3),
  content: fc.constantFrom("", "", "data"),
});

Deno.test("any sequence of entries is unpacked inside the layer or refused", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 8 }), (entries) => harmless(tarOf(...entries))),
    bounded,
  );
});

/** Nothing but our own errors may come out, and nothing outside may change. */
async function harmless(archive: Uint8Array<ArrayBuffer>): Promise<void> {
  await using bench = await layerBench();
  try {
    await bench.unpack(archive);
  } catch (error) {
    if (!(error instanceof PodError)) throw error;
  }
  await bench.checkOutside();
}
