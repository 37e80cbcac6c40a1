/** Layer blobs: entries, changed, written and packed. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { END, type Entry, entryBytes, gnuLong, joined, paxHeader } from "../fakes/tar_builder.ts";
import type { Random } from "./random.ts";
import type { Bytes } from "./target.ts";
import { anyEntry, anyField, anyName, anyPax, anyTarget, entry, type Piece, plot, saneLayer } from "./tar_entries.ts";

/** The blob of one case. */
export function layerBlob(random: Random, place: string): Bytes {
  return packedArchive(saneLayer(random), { random, place, changes: random.below(7) });
}

/** An archive of these pieces, with some of them changed, finished and packed in some way. */
export function packedArchive(
  sane: readonly Piece[],
  options: { readonly random: Random; readonly place: string; readonly changes: number },
): Bytes {
  const { random, place, changes } = options;
  let pieces = [...sane];
  for (let i = 0; i < changes; i++) pieces = changed(pieces, random, place);
  return pack(finished(joined(...pieces.map(written)), random), random);
}

function changed(pieces: readonly Piece[], random: Random, place: string): Piece[] {
  const at = random.below(pieces.length + 1);
  const piece = pieces[at];
  const put = (...added: Piece[]): Piece[] => pieces.toSpliced(at, 0, ...added);
  switch (random.below(10)) {
    case 0:
      return piece === undefined ? [...pieces] : put(piece);
    case 1:
      return pieces.toSpliced(at, 1);
    case 2:
      return put(anyEntry(random, place));
    case 3:
    case 4:
      return put(...plot(random, place));
    case 5:
      return put({
        kind: "long",
        type: random.pick(["L", "K"]),
        text: random.pick([anyName(random), anyTarget(random, place), "x".repeat(4097), "", "a\0b"]),
      });
    case 6:
      return put({
        kind: "pax",
        type: random.chance(0.8) ? "x" : "g",
        records: random.times(random.between(0, 5), () => anyPax(random, place)),
      });
    case 7:
      return put(sparse(random));
    default:
      return piece?.kind === "entry" ? pieces.toSpliced(at, 1, entry(bent(piece.entry, random, place))) : [...pieces];
  }
}

/** The same entry with one thing about it changed; its checksum is right again, as a rule. */
function bent(value: Entry, random: Random, place: string): Entry {
  const records = [...(value.pax ?? []), anyPax(random, place)];
  switch (random.below(12)) {
    case 0:
      return { ...value, name: anyName(random) };
    case 1:
      return { ...value, type: random.pick(["0", "1", "2", "3", "4", "5", "6", "7", "S", "x", "g", "L", "K", "9"]) };
    case 2:
      return { ...value, link: anyTarget(random, place) };
    case 3:
      return { ...value, size: anyField(random, 12) };
    case 4:
      return { ...value, [random.pick(["mode", "uid", "gid", "major", "minor"])]: anyField(random, 8) };
    case 5:
      return { ...value, mtime: anyField(random, 12) };
    case 6:
      return { ...value, checksum: random.pick(["signed", "signed", "wrong"]) };
    case 7:
      return { ...value, prefix: random.pick(["..", "/", "../../outside", "d", "x".repeat(155)]) };
    case 8:
      return { ...value, patch: { [random.below(512)]: random.bytes(1) } };
    case 9:
      return {
        ...value,
        patch: { 257: random.pick([random.bytes(8), new Uint8Array(8)]) },
        format: random.pick(["gnu", "old"]),
      };
    case 10:
      return { ...value, size: random.pick([0, 1, 511, 512, 513, 5000]) };
    default:
      return { ...value, pax: records };
  }
}

/** A sparse file in one of the four ways, its map right or nearly so. */
function sparse(random: Random): Piece {
  const [count, stored] = [random.between(0, 4), random.pick([512, 1024, 700])];
  const map = random.times(count, (i) => [random.chance(0.9) ? i * 4096 : 0, Math.floor(stored / Math.max(1, count))]);
  const content = random.bytes(stored);
  const real = random.pick(["20480", "20480", "1", "274877906945", "9007199254740991", "-1"]);
  const text = map.flat().join(",");
  if (random.chance(0.3)) return entry({ name: "s", type: "S", format: "gnu", content, patch: oldMap(map, random) });
  if (random.chance(0.5)) {
    const records = [["GNU.sparse.size", real], ["GNU.sparse.numblocks", String(count)], [
      "GNU.sparse.map",
      text,
    ]] as const;
    return entry({ name: "s", content, pax: records });
  }
  const lines = new TextEncoder().encode(`${[count, ...map.flat()].join("\n")}\n`);
  const head = new Uint8Array(512 * random.pick([1, 1, 1, 2]));
  head.set(lines.subarray(0, 512));
  const records = [["GNU.sparse.major", "1"], ["GNU.sparse.minor", "0"], ["GNU.sparse.realsize", real]] as const;
  return entry({
    name: "GNUSparseFile.0/s",
    content: joined(head, content),
    pax: [...records, ["GNU.sparse.name", "s"]],
  });
}

function oldMap(map: readonly number[][], random: Random): Record<number, Uint8Array> {
  const octal = (value: number): Uint8Array => new TextEncoder().encode(`${value.toString(8).padStart(11, "0")}\0`);
  const patch: Record<number, Uint8Array> = { 483: octal(random.pick([20480, 1, 2 ** 33 - 1])) };
  for (const [i, [offset = 0, length = 0]] of map.entries()) {
    patch[386 + 24 * i] = octal(offset);
    patch[398 + 24 * i] = octal(length);
  }
  if (random.chance(0.2)) patch[482] = new Uint8Array([1]);
  return patch;
}

function written(piece: Piece): Uint8Array {
  switch (piece.kind) {
    case "entry":
      return entryBytes(piece.entry);
    case "long":
      return gnuLong(piece.type, piece.text);
    case "pax":
      return paxHeader(piece.records, piece.type);
    case "bytes":
      return piece.bytes;
  }
}

/** The archive's end: right, missing, cut, doubled, or followed by something. */
function finished(archive: Bytes, random: Random): Bytes {
  switch (random.below(12)) {
    case 0:
      return archive;
    case 1:
      return archive.slice(0, random.below(archive.length + 1));
    case 2:
      return joined(archive, END, random.bytes(random.below(700)));
    case 3:
      return joined(archive, END.subarray(0, 512), archive, END);
    case 4:
      return joined(archive, END, archive, END);
    case 5: {
      const bad = joined(archive, END);
      for (let i = 0; i < 3; i++) bad[random.below(bad.length)] = random.below(256);
      return bad;
    }
    default:
      return joined(archive, END);
  }
}

function pack(archive: Bytes, random: Random): Bytes {
  const way = random.below(10);
  if (way < 4) return archive;
  const parts = split(archive, random.pick([1, 1, 2, 5]), random);
  const packed = way < 7
    ? joined(...parts.map((part) => gzip(part, random)))
    : joined(...parts.flatMap((part) => [...(random.chance(0.1) ? [skippable(random)] : []), zstdCompressSync(part)]));
  return spoilt(packed, random);
}

/** A member, which may have the optional fields of RFC 1952. */
function gzip(part: Bytes, random: Random): Uint8Array {
  const member = gzipSync(part, { level: random.pick([0, 1, 9]) });
  if (random.chance(0.8)) return member;
  const [extra, name] = [random.bytes(random.below(300)), new TextEncoder().encode("layer.tar\0")];
  const head = joined(member.subarray(0, 10));
  head[3] = 0x04 | 0x08;
  return joined(head, Uint8Array.of(extra.length & 255, extra.length >> 8), extra, name, member.subarray(10));
}

function skippable(random: Random): Uint8Array {
  const length = random.below(40);
  return joined(Uint8Array.of(0x50 | random.below(16), 0x2a, 0x4d, 0x18, length, 0, 0, 0), random.bytes(length));
}

/** One packed layer in ten is damaged: most of them have to get to the archive's reader. */
function spoilt(packed: Bytes, random: Random): Bytes {
  switch (random.below(30)) {
    case 0:
      return packed.slice(0, random.below(packed.length));
    case 1:
      return joined(packed, random.bytes(random.between(1, 20)));
    case 2:
      packed[random.below(packed.length)] = random.below(256);
      return packed;
    default:
      return packed;
  }
}

function split(archive: Bytes, count: number, random: Random): Bytes[] {
  const cuts = random.times(count - 1, () => random.below(archive.length + 1)).sort((a, b) => a - b);
  return [...cuts, archive.length].map((end, i) => archive.subarray(i === 0 ? 0 : cuts[i - 1], end));
}
