import assert from "node:assert/strict";
import type { TarEntry } from "../../../../src/image/unpack/entry.ts";
import { LayerError } from "../../../../src/image/unpack/layer_error.ts";
import { TarReader } from "../../../../src/image/unpack/tar_reader.ts";
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
} from "../../../fakes/tar_builder.ts";

interface Read {
  readonly entries: readonly TarEntry[];
  readonly contents: readonly string[];
  /** Everything in order: must be the archive again. */
  readonly bytes: Uint8Array;
}

function read(archive: Uint8Array<ArrayBuffer>, chunkBytes = archive.length): Read {
  const entries: TarEntry[] = [];
  const contents: string[] = [];
  const all: Uint8Array[] = [];
  const keep = (bytes: Uint8Array): void => void all.push(bytes.slice());
  const reader = new TarReader({
    raw: keep,
    globalHeader: () => {},
    entry: (entry) => {
      entries.push(entry);
      contents.push("");
    },
    payload: (bytes) => {
      keep(bytes);
      contents[contents.length - 1] += new TextDecoder().decode(bytes);
    },
    entryEnd: () => {},
  }, { maxPathBytes: 4096 });
  for (let i = 0; i < archive.length; i += chunkBytes) {
    const chunk = archive.subarray(i, i + chunkBytes);
    for (let done = 0; done < chunk.length;) done = reader.step(chunk, done);
  }
  reader.end();
  return { entries, contents, bytes: joined(...all) };
}

const first = (...entries: readonly Entry[]): TarEntry | undefined => read(tarOf(...entries)).entries[0];
const one = (entry: Partial<Entry>): TarEntry | undefined => first({ name: "a", ...entry });

function fails(archive: Uint8Array<ArrayBuffer>, kind: string, reason: RegExp): void {
  assert.throws(() => read(archive), (error) => {
    assert.ok(error instanceof LayerError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.reason, reason);
    return true;
  });
}

const SPARSE_1_0 = entryBytes({
  name: "GNUSparseFile.1/s",
  content: joined(bytesOf("2\n0\n3\n5000\n4\n" + "\0".repeat(512 - 13)), bytesOf("abcdefg")),
  pax: [["GNU.sparse.major", "1"], ["GNU.sparse.minor", "0"], ["GNU.sparse.name", "s"], [
    "GNU.sparse.realsize",
    "9000",
  ]],
});
const OLD_SPARSE: Entry = {
  name: "old",
  type: "S",
  format: "gnu",
  content: "abcdefg",
  patch: {
    386: bytesOf("00000000000\x0000000000003\x0000000011610\x0000000000004\0"),
    483: bytesOf("00000021450\0"),
  },
};
const MIXED = joined(
  entryBytes({ name: "dir/" }),
  paxHeader([["path", "dir/" + "long".repeat(40)], ["mtime", "12.5"]]),
  entryBytes({ name: "short", content: "x".repeat(700) }),
  SPARSE_1_0,
  paxHeader([["comment", "global"]], "g"),
  gnuLong("L", "n".repeat(150)),
  entryBytes({ name: "cut", content: "gnu", format: "gnu" }),
  entryBytes(OLD_SPARSE),
  entryBytes({ name: "end", content: "e".repeat(512) }),
  END,
  bytesOf("trailing garbage"),
);

Deno.test("TarReader gives the same entries and all bytes when the archive comes in pieces of any size", () => {
  const whole = read(MIXED);
  assert.deepEqual(whole.bytes, MIXED);
  assert.deepEqual(whole.entries.map((entry) => entry.name.slice(0, 9)), [
    "dir/",
    "dir/longl",
    "s",
    "nnnnnnnnn",
    "old",
    "end",
  ]);
  for (const size of [1, 7, 511, 512, 513, 1000]) assert.deepEqual(read(MIXED, size), whole, `chunks of ${size}`);
});

Deno.test("TarReader reads numbers in octal, with odd padding, and in base 256", () => {
  assert.equal(one({ uid: "  17 \0" })?.uid, 15);
  assert.equal(one({ uid: "" })?.uid, 0);
  assert.equal(one({ uid: base256(3_000_000_000, 8) })?.uid, 3_000_000_000);
  assert.equal(one({ mtime: -5 })?.mtime.seconds, -5);
  assert.equal(one({ mode: "0107777\0" })?.mode, 0o7777);
});

Deno.test("TarReader takes names from prefix, GNU and PAX headers, the nearest one first", () => {
  assert.equal(one({ prefix: "pre/fix" })?.name, "pre/fix/a");
  assert.equal(one({ pax: [["path", "from/pax"]] })?.name, "from/pax");
  assert.equal(one({ pax: [["path", ""]] })?.name, "a");
  assert.equal(one({ type: "2", link: "x", pax: [["linkpath", "pax"]] })?.linkName, "pax");
  const both = joined(gnuLong("L", "gnu"), gnuLong("K", "to"), tarOf({ name: "a", type: "2", link: "x" }));
  const entry = read(both).entries[0];
  assert.deepEqual([entry?.name, entry?.linkName], ["gnu", "to"]);
});

Deno.test("TarReader takes owners, sizes, times and attributes from PAX records", () => {
  const archive = tarOf({
    name: "a",
    content: "hello",
    size: 0,
    pax: [["size", "5"], ["uid", "70000"], ["gid", "4294967294"], ["mtime", "-1.25"], ["atime", "7.1234567899"], [
      "SCHILY.xattr.user.k",
      new Uint8Array([0, 255, 0x3d]),
    ]],
  });
  const { entries: [entry], contents } = read(archive);
  assert.deepEqual([entry?.uid, entry?.gid, entry?.sizeBytes, contents[0]], [70000, 4294967294, 5, "hello"]);
  assert.deepEqual(entry?.mtime, { seconds: -2, nanos: 750_000_000 });
  assert.deepEqual(entry?.atime, { seconds: 7, nanos: 123_456_789 });
  assert.deepEqual(entry?.xattrs, new Map([["user.k", "\0\xff="]]));
});

Deno.test("TarReader does not apply global headers", () => {
  const archive = joined(paxHeader([["path", "global"], ["uid", "9"]], "g"), tarOf({ name: "a" }));
  const [entry] = read(archive).entries;
  assert.deepEqual([entry?.name, entry?.uid], ["a", 0]);
});

Deno.test("TarReader ignores sizes of entries that have no payload", () => {
  const { entries } = read(tarOf({ name: "d/", size: 1000 }, { name: "l", type: "1", link: "a", size: 512 }));
  assert.deepEqual(entries.map((entry) => entry.storedBytes), [0, 0]);
});

Deno.test("TarReader reads all kinds of sparse files", () => {
  const expected = [{ offset: 0, sizeBytes: 3 }, { offset: 5000, sizeBytes: 4 }];
  const pax = [["GNU.sparse.size", "9000"], ["GNU.sparse.numblocks", "2"]] as const;
  const archives = {
    old: tarOf(OLD_SPARSE),
    v00: tarOf({
      name: "s",
      content: "abcdefg",
      pax: [...pax, ["GNU.sparse.offset", "0"], ["GNU.sparse.numbytes", "3"], ["GNU.sparse.offset", "5000"], [
        "GNU.sparse.numbytes",
        "4",
      ]],
    }),
    v01: tarOf({ name: "s", content: "abcdefg", pax: [...pax, ["GNU.sparse.map", "0,3,5000,4"]] }),
    v10: joined(SPARSE_1_0, END),
  };
  for (const [version, archive] of Object.entries(archives)) {
    const { entries: [entry], contents } = read(archive);
    assert.deepEqual(entry?.sparse, expected, version);
    assert.deepEqual([entry?.sizeBytes, entry?.storedBytes, contents[0]], [9000, 7, "abcdefg"], version);
  }
});

Deno.test("TarReader reads an old GNU map that goes on in further blocks", () => {
  const extents = Array.from({ length: 30 }, (_, i) => [i * 1000, 1] as const);
  const map = extents.map(([at, size]) => `${octal(at)}${octal(size)}`);
  const extension = new Uint8Array(1024);
  extension.set(bytesOf(map.slice(4, 25).join("")), 0);
  extension[504] = 1;
  extension.set(bytesOf(map.slice(25).join("")), 512);
  const header = entryBytes({
    name: "s",
    type: "S",
    format: "gnu",
    size: 30,
    patch: { 386: bytesOf(map.slice(0, 4).join("")), 482: new Uint8Array([1]), 483: bytesOf(octal(40_000)) },
  });
  const content = joined(bytesOf("x".repeat(30)), new Uint8Array(482));
  const { entries: [entry] } = read(joined(header, extension, content, END));
  assert.deepEqual(entry?.sparse?.length, 30);
  assert.deepEqual(entry?.sparse?.[29], { offset: 29_000, sizeBytes: 1 });
});

function octal(value: number): string {
  return value.toString(8).padStart(11, "0") + "\0";
}

Deno.test("TarReader accepts checksums of signed bytes and old headers", () => {
  assert.equal(first({ name: new Uint8Array([0xe9, 0x61]), checksum: "signed" })?.name, "\xe9a");
  assert.equal(first({ name: "d/", type: "\0", format: "old" })?.type, "directory");
});

Deno.test("TarReader accepts an archive without an end marker", () => {
  assert.equal(read(entryBytes({ name: "a", content: "x" })).entries.length, 1);
  assert.equal(read(new Uint8Array()).entries.length, 0);
  assert.equal(read(new Uint8Array(512)).entries.length, 0);
});

Deno.test("TarReader says what is damaged", () => {
  fails(tarOf({ name: "a", checksum: "wrong" }), "data_loss", /checksum/);
  fails(tarOf({ name: "a", uid: "9abc" }), "data_loss", /uid is not a number/);
  fails(tarOf({ name: "a", size: base256(-1, 12) }), "data_loss", /size is negative/);
  fails(tarOf({ name: "a", size: new Uint8Array(12).fill(0x80, 0, 1).fill(0x7f, 1) }), "data_loss", /out of range/);
  fails(tarOf({ name: "a", pax: [["size", "-1"]] }), "data_loss", /size is negative/);
  fails(tarOf({ name: "a", pax: [["size", "1e3"]] }), "data_loss", /not a number/);
  fails(joined(entryBytes({ name: "a" }), new Uint8Array(512), tarOf({ name: "b" })), "data_loss", /zero block/);
  fails(joined(paxHeader([["uid", "1"]]), END), "data_loss", /followed by nothing/);
  fails(paxHeader([["uid", "1"]]), "data_loss", /cut/);
  fails(bytesOf("x".repeat(600)), "data_loss", /checksum/);
});

Deno.test("TarReader says what is malformed in extended headers", () => {
  const raw = (content: string): Uint8Array<ArrayBuffer> =>
    joined(entryBytes({ name: "p", type: "x", content }), tarOf({ name: "a" }));
  for (
    const content of ["x", "5 a=\n9", "99 a=b\n", "6 a=b\n\n", "6 ab=c", "6 abc\n", "5 =b\n", "0 a=b\n", "-6 a=b\n"]
  ) {
    fails(raw(content), "data_loss", /malformed/);
  }
  fails(tarOf({ name: "a", pax: [["path", "x\0y"]] }), "data_loss", /malformed/);
  fails(tarOf({ name: "a", pax: [["SCHILY.xattr.user\0.k", "v"]] }), "data_loss", /malformed/);
  fails(tarOf({ name: "a", pax: [["mtime", "yesterday"]] }), "invalid_argument", /time/);
  fails(tarOf({ name: "a", pax: [["uid", "-1"]] }), "invalid_argument", /owner/);
  fails(tarOf({ name: "a", pax: [["gid", "4294967295"]] }), "invalid_argument", /owner/);
  fails(tarOf({ name: "a", pax: [["comment", "x".repeat(1 << 20)]] }), "invalid_argument", /over the limit/);
  fails(joined(gnuLong("L", "x".repeat(1 << 20)), tarOf({ name: "a" })), "invalid_argument", /over the limit/);
});

Deno.test("TarReader refuses types, names and devices out of range", () => {
  fails(tarOf({ name: "a", type: "V" }), "invalid_argument", /type "V"/);
  fails(tarOf({ name: "a", pax: [["path", "x".repeat(4097)]] }), "invalid_argument", /longer than 4096/);
  fails(tarOf({ name: "a", type: "2", pax: [["linkpath", "x".repeat(5000)]] }), "invalid_argument", /longer/);
  fails(tarOf({ name: "a", type: "3", major: 0x1000 }), "invalid_argument", /device number/);
  fails(tarOf({ name: "a", type: "4", minor: base256(-1, 8) }), "invalid_argument", /device number/);
});

Deno.test("TarReader refuses maps of sparse files that lie", () => {
  const sparse = (map: string, numblocks = "2", size = "9000"): Uint8Array<ArrayBuffer> =>
    tarOf({
      name: "s",
      content: "abcdefg",
      pax: [["GNU.sparse.size", size], ["GNU.sparse.numblocks", numblocks], ["GNU.sparse.map", map]],
    });
  for (
    const archive of [
      sparse("0,3,2,4"), // overlaps
      sparse("5000,4,0,3"), // backwards
      sparse("0,3,5000,5"), // more than stored
      sparse("0,3,5000,3"), // less than stored
      sparse("0,3,8999,4"), // beyond the end
      sparse("0,3,5000,4", "3"), // another count
      sparse("0,3,5000,4", "-2"),
      sparse("0,3,-1,4"),
      sparse("0,3,9007199254740991,4"),
      sparse("0,3,5000,4", "2", "-9000"),
      tarOf({ ...OLD_SPARSE, size: 3, content: "abc" }),
      tarOf({ name: "s", content: "9".repeat(512), pax: [["GNU.sparse.major", "1"], ["GNU.sparse.minor", "0"]] }),
      tarOf({ name: "s", content: "1\n", pax: [["GNU.sparse.major", "1"], ["GNU.sparse.minor", "0"]] }),
    ]
  ) fails(archive, "data_loss", /sparse/);
  fails(tarOf({ ...OLD_SPARSE, format: "ustar" }), "data_loss", /another format/);
});
