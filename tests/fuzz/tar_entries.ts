/** Layers as lists of entries: right ones, and what hostile ones are made of. */
import { base256, type Entry } from "../fakes/tar_builder.ts";
import type { Random } from "./random.ts";

/** One piece of an archive. */
export type Piece =
  | { readonly kind: "entry"; readonly entry: Entry }
  | { readonly kind: "long"; readonly type: "L" | "K"; readonly text: string }
  | { readonly kind: "pax"; readonly type: "x" | "g"; readonly records: NonNullable<Entry["pax"]> }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

type Pax = readonly [key: string, value: string | Uint8Array];

const PARTS = [
  ...["a", "b", "c", "d", "etc", "lib", "usr", "..", ".", "", "outside", "secret", "passwd", "top", "layer", "sibling"],
  ...[".wh.a", ".wh.d", ".wh.", ".wh..", ".wh...", ".wh..wh..opq", ".wh..wh.plnk", ".wh..wh.aufs", "...", "\u00e4"],
  ...["new\nline", "\\", "~", "*", "n".repeat(99), "n".repeat(255), "n".repeat(256), "\u007f"],
] as const;

/** Names of a few components, most of them meeting each other. */
export function anyName(random: Random): string {
  if (random.chance(0.02)) return deepName(random);
  const parts = random.times(random.between(1, 4), () => random.chance(0.7) ? random.pick(NEAR) : random.pick(PARTS));
  const name = parts.join("/");
  return `${random.chance(0.1) ? "/" : ""}${name}${random.chance(0.15) ? "/" : ""}`;
}

const NEAR = ["a", "b", "d", "l", "etc"] as const;

function deepName(random: Random): string {
  const part = random.pick(["d/", "l/", "a/b/", "../", "./", "d/../"]);
  return part.repeat(random.chance(0.1) ? random.pick([1000, 2040]) : random.pick([10, 33, 100]));
}

/** What links may lead to: near, nowhere, around in circles, and out. */
export function anyTarget(random: Random, place: string): string {
  switch (random.below(5)) {
    case 0:
      return random.pick([`${place}/outside/secret`, `${place}/outside`, `${place}/top/sibling`, place]);
    case 1:
      return random.pick(["../../outside", "../../outside/secret", "../sibling", "..", "../..", ".", "/", "//", ""]);
    case 2:
      return random.pick(["/proc/self/root", "/proc/self/cwd", "/proc/1/root/etc", "/dev/null", "/proc/self/fd/3"]);
    default:
      return anyName(random);
  }
}

/** A small layer as builders write it. */
export function saneLayer(random: Random): Piece[] {
  const pieces: Piece[] = [entry({ name: "d/" }), entry({ name: "d/file", content: "x".repeat(random.below(1500)) })];
  const more: (() => Entry)[] = [
    () => ({ name: "etc/" }),
    () => ({ name: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\n" }),
    () => ({ name: "l", type: "2", link: random.pick(["d", "etc", "d/file"]) }),
    () => ({ name: "h", type: "1", link: "d/file" }),
    () => ({ name: "a", content: random.bytes(random.below(600)) }),
    () => ({ name: "a/b/c/", mode: 0o1777 }),
    () => ({ name: "d/.wh.gone" }),
    () => ({ name: "etc/.wh..wh..opq" }),
    () => ({ name: "null", type: "3", major: 1, minor: 3 }),
    () => ({ name: "p", type: "6" }),
    () => ({ name: "./", mode: random.pick([0o755, 0o700, 0o1777]), uid: random.below(3) }),
  ];
  for (const make of more) if (random.chance(0.5)) pieces.push(entry(make()));
  return pieces;
}

/** Any entry. */
export function anyEntry(random: Random, place: string): Piece {
  return entry({
    name: anyName(random),
    type: random.pick([
      "0",
      "0",
      "1",
      "1",
      "2",
      "2",
      "2",
      "3",
      "4",
      "5",
      "5",
      "6",
      "7",
      "\0",
      "S",
      "g",
      "V",
      "M",
      "\xff",
    ]),
    link: anyTarget(random, place),
    mode: random.below(0o10000),
    uid: random.pick([0, 0, 1, 65534, 0xffff_fffe, 0xffff_ffff]),
    gid: random.pick([0, 0, 5, 2 ** 32]),
    mtime: random.pick([0, 1_700_000_000, -1, 2 ** 40, 2 ** 52, 9_223_372_036]),
    content: random.chance(0.5) ? "" : "y".repeat(random.below(2000)),
    major: random.pick([0, 1, 4095, 4096]),
    minor: random.pick([0, 3, 2 ** 20]),
    format: random.pick(["ustar", "ustar", "gnu", "old"]),
    ...(random.chance(0.1) ? { pax: random.times(random.between(1, 3), () => anyPax(random, place)) } : {}),
  });
}

/** Any record of an extended header. */
export function anyPax(random: Random, place: string): Pax {
  const number = (): string =>
    random.pick(["0", "1", "-1", "512", "99999999999", "9007199254740993", "x", "", "1.5", " 1"]);
  switch (random.below(8)) {
    case 0:
      return ["path", random.pick([anyName(random), "a\0b", "", "p".repeat(5000)])];
    case 1:
      return ["linkpath", anyTarget(random, place)];
    case 2:
      return [random.pick(["size", "uid", "gid", "mtime", "atime", "ctime"]), number()];
    case 3:
      return [`SCHILY.xattr.${random.pick(XATTRS)}`, random.pick(["", "y", "\0", "v".repeat(200), "v".repeat(70_000)])];
    case 4:
      return [
        `GNU.sparse.${random.pick(["major", "minor", "size", "realsize", "numblocks", "offset", "numbytes"])}`,
        number(),
      ];
    case 5:
      return ["GNU.sparse.map", random.pick(["0,1", "0,512,1024,512", "5,1,0,1", "1", "", ",", "0,9007199254740991"])];
    case 6:
      return ["GNU.sparse.name", anyName(random)];
    default:
      return [
        random.pick(["hdrcharset", "comment", "=", "LIBARCHIVE.xattr.a", "uname"]),
        random.bytes(random.below(40)),
      ];
  }
}

const XATTRS = [
  ...["user.a", "user.", "trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.x"],
  ...["security.capability", "security.selinux", "security.ima", "system.posix_acl_access", "system.posix_acl_default"],
  ...["system.x", "x", "user.".padEnd(300, "n"), "trusted.overlay.", "security.apparmor", "btrfs.compression"],
] as const;

/** Entries that only together do harm: a link, and what goes through it or takes its place. */
export function plot(random: Random, place: string): Piece[] {
  const [name, other] = [random.pick(NEAR), random.pick(NEAR)];
  const to = anyTarget(random, place);
  const link = entry({ name, type: "2", link: to });
  switch (random.below(8)) {
    case 0:
      return [
        link,
        entry({ name: `${name}/${random.pick(["secret", "x/", "etc/passwd", "sibling"])}`, content: "changed" }),
      ];
    case 1:
      return [
        link,
        entry({ name: other, type: "2", link: name }),
        entry({ name: `${other}/${random.pick(PARTS)}`, content: "c" }),
      ];
    case 2:
      return [link, entry({ name: `${name}/`, mode: 0 }), entry({ name: `${name}/secret`, content: "changed" })];
    case 3:
      return [
        entry({ name: `${name}/` }),
        entry({ name: `${name}/l`, type: "2", link: to }),
        entry({ name, content: "file" }),
      ];
    case 4:
      return [link, entry({ name: "h", type: "1", link: `${name}/secret` }), entry({ name: "h", content: "changed" })];
    case 5:
      return [link, entry({ name: random.pick([`.wh.${name}`, `${name}/.wh.secret`, `${name}/.wh..wh..opq`]) })];
    case 6:
      return [link, entry({ name: "h", type: "1", link: name, mode: 0o777, uid: 1 })];
    default:
      return deepChain(random);
  }
}

/** Directories deeper than any path can name: each link leads to the end of the one before. */
function deepChain(random: Random): Piece[] {
  const depth = random.chance(0.05) ? random.pick([200, 1000]) : random.pick([3, 20, 31, 40]);
  const steps = random.between(1, 6);
  const pieces: Piece[] = [];
  let before = "";
  for (let i = 0; i < steps; i++) {
    const down = `${before}${"d/".repeat(depth)}`;
    pieces.push({ kind: "long", type: "L", text: down }, entry({ name: "x", type: "5" }));
    pieces.push({ kind: "long", type: "K", text: down }, entry({ name: `k${i}`, type: "2", link: "x" }));
    before = `k${i}/`;
  }
  if (random.chance(0.3)) pieces.push(entry({ name: "d", content: "takes the place of all" }));
  return pieces;
}

/** Numbers of header fields that are no numbers, or too great. */
export function anyField(random: Random, length: number): string | number | Uint8Array {
  switch (random.below(5)) {
    case 0:
      return "7".repeat(length);
    case 1:
      return base256(random.pick([0, 1, 2 ** 31, 2 ** 52]), length);
    case 2:
      return Uint8Array.from({ length }, () => 0xff);
    case 3:
      return random.pick(["", " ", "9", "-1", "0x10", "1 1", "\0" + "7".repeat(length - 1)]);
    default:
      return random.bytes(length);
  }
}

export function entry(value: Entry): Piece {
  return { kind: "entry", entry: value };
}
