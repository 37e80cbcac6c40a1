/** Documents as trees, changed and written as JSON. */
import type { Random } from "./random.ts";

export type Tree = null | boolean | number | string | Tree[] | { [key: string]: Tree };

/** What a document's values and keys may be replaced by. */
export interface Vocabulary {
  readonly keys: readonly [string, ...string[]];
  readonly values: readonly [Tree, ...Tree[]];
}

const ODD_NUMBERS = [0, -1, 1, -0, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2, 1e21] as const;
const ODD_TEXTS = [
  "",
  " ",
  "\0",
  "\u2028",
  "\ud800",
  "__proto__",
  "constructor",
  "toString",
  "../../etc/passwd",
  "a".repeat(300),
  "b".repeat(30_000),
  "ä\u0301".repeat(40),
  "NaN",
] as const;
const MAX_REPEATED = 1500;

/** Some changes of structure or value, anywhere in the tree. */
export function mutateTree(tree: Tree, random: Random, options: Vocabulary & { readonly changes: number }): Tree {
  let changed = structuredClone(tree);
  for (let i = 0; i < options.changes; i++) changed = mutateOnce(changed, random, options);
  return changed;
}

/** Any tree of a few nodes. */
export function anyTree(random: Random, words: Vocabulary, depth = 0): Tree {
  const kind = random.below(depth > 3 ? 6 : 9);
  if (kind === 0) return random.pick([null, true, false]);
  if (kind <= 2) return random.pick(ODD_NUMBERS);
  if (kind === 3) return random.pick(ODD_TEXTS);
  if (kind <= 5) return structuredClone(random.pick(words.values));
  if (kind === 6) return random.times(random.below(4), () => anyTree(random, words, depth + 1));
  const entries = random.times(random.below(4), () => [anyKey(random, words), anyTree(random, words, depth + 1)]);
  return Object.fromEntries(entries as [string, Tree][]);
}

function anyKey(random: Random, words: Vocabulary): string {
  return random.chance(0.8) ? random.pick(words.keys) : random.pick(ODD_TEXTS);
}

function mutateOnce(tree: Tree, random: Random, words: Vocabulary): Tree {
  const places = holders(tree);
  const holder = random.any(places);
  if (holder === undefined || random.chance(0.01)) return anyTree(random, words);
  if (Array.isArray(holder)) mutateList(holder, random, words);
  else mutateObject(holder, random, words);
  return tree;
}

function mutateList(list: Tree[], random: Random, words: Vocabulary): void {
  const at = random.below(list.length + 1);
  const item = list[at] ?? anyTree(random, words);
  switch (random.below(6)) {
    case 0:
      list.splice(at, 1);
      break;
    case 1:
      list.splice(at, 0, structuredClone(item));
      break;
    case 2:
      list[at] = anyTree(random, words);
      break;
    case 3:
      list.reverse();
      break;
    case 4:
      if (random.chance(0.1)) list.push(...Array<Tree>(random.below(MAX_REPEATED)).fill(item));
      else list.push(anyTree(random, words));
      break;
    default:
      list[at] = mutateValue(item, random, words);
  }
}

function mutateObject(object: { [key: string]: Tree }, random: Random, words: Vocabulary): void {
  const keys = Object.keys(object);
  const key = random.any(keys) ?? anyKey(random, words);
  const value = object[key] ?? null;
  switch (random.below(6)) {
    case 0:
      delete object[key];
      break;
    case 1:
      put(object, anyKey(random, words), anyTree(random, words));
      break;
    case 2:
      delete object[key];
      put(object, anyKey(random, words), value);
      break;
    case 3:
      put(object, key, anyTree(random, words));
      break;
    default:
      put(object, key, mutateValue(value, random, words));
  }
}

function mutateValue(value: Tree, random: Random, words: Vocabulary): Tree {
  if (random.chance(0.05)) return nested(value, random.pick([1, 2, 50, 1000]));
  if (typeof value === "number") return random.chance(0.5) ? value + random.between(-2, 2) : random.pick(ODD_NUMBERS);
  if (typeof value !== "string") return random.chance(0.3) ? [value] : structuredClone(random.pick(words.values));
  const at = random.below(value.length + 1);
  switch (random.below(5)) {
    case 0:
      return value.slice(0, at);
    case 1:
      return value.slice(0, at) + random.pick(ODD_TEXTS) + value.slice(at);
    case 2:
      return value.toUpperCase();
    case 3:
      return value.slice(0, at) + value.slice(at + 1);
    default:
      return structuredClone(random.pick(words.values));
  }
}

function nested(value: Tree, depth: number): Tree {
  let outer = value;
  for (let i = 0; i < depth; i++) outer = i % 2 === 0 ? [outer] : { a: outer };
  return outer;
}

/** As an own member, `__proto__` too. */
function put(object: { [key: string]: Tree }, key: string, value: Tree): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

/** All lists and objects of a tree, down to a sane depth. */
function holders(tree: Tree): (Tree[] | { [key: string]: Tree })[] {
  const found: (Tree[] | { [key: string]: Tree })[] = [];
  const waiting: Tree[] = [tree];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (typeof node !== "object" || node === null) continue;
    found.push(node);
    if (found.length > 500) break;
    waiting.push(...Object.values(node).slice(0, 100));
  }
  return found;
}

/** JSON, in which now and then a key stands twice, a number is written oddly, or blanks are where they may be. */
export function printJson(tree: Tree, random: Random): string {
  if (Array.isArray(tree)) return `[${tree.map((item) => printJson(item, random)).join(random.pick([",", ", "]))}]`;
  if (typeof tree === "object" && tree !== null) {
    const members = Object.entries(tree).map(([key, value]) => `${JSON.stringify(key)}:${printJson(value, random)}`);
    // Of a short one: doubled at each of a hundred levels it would be everything.
    const twice = random.chance(0.02) ? random.any(members.filter(({ length }) => length < 1000)) : undefined;
    return `{${[...members, ...(twice === undefined ? [] : [twice])].join(",")}}`;
  }
  if (typeof tree === "number" && random.chance(0.02)) {
    return random.pick(["1e400", "-0", "1.0", "1E2", "9".repeat(400)]);
  }
  return JSON.stringify(tree);
}

/** A text with a few bytes changed, or a piece cut, doubled or moved. */
export function mutateText(text: string, random: Random, pieces: readonly [string, ...string[]]): string {
  const [from, to] = [random.below(text.length + 1), random.below(text.length + 1)].sort((a, b) => a - b);
  const [start, end] = [from ?? 0, Math.min(to ?? 0, (from ?? 0) + 60)];
  switch (random.below(6)) {
    case 0:
      return text.slice(0, start) + text.slice(end);
    case 1:
      return text.slice(0, end) + text.slice(start);
    case 2:
      return text.slice(0, start) + random.pick(pieces) + text.slice(start);
    case 3:
      return text.slice(0, start) + random.pick(pieces) + text.slice(end);
    case 4:
      return text.slice(0, start) + String.fromCharCode(random.below(random.chance(0.8) ? 128 : 65536)) +
        text.slice(start + 1);
    default:
      return random.chance(0.2) ? text.slice(0, start) : text.slice(end) + text.slice(start, end);
  }
}
