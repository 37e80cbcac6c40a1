/** Trees written as TOML, also where that makes no sense. */
import type { Random } from "./random.ts";
import type { Tree } from "./trees.ts";

type Table = { readonly [key: string]: Tree };

/** Values first, then tables, then lists of tables: as people write it. */
export function printToml(tree: Tree, random: Random): string {
  if (!isTable(tree)) return `value = ${inline(tree, random)}\n`;
  return section(tree, [], random);
}

function section(table: Table, path: readonly string[], random: Random): string {
  const lines: string[] = [];
  const later: string[] = [];
  for (const [key, value] of Object.entries(table)) {
    const name = [...path, bare(key)];
    const isDeep = path.length > 4;
    if (Array.isArray(value) && value.length > 0 && value.every(isTable) && !isDeep && random.chance(0.95)) {
      later.push(...value.map((item) => `[[${name.join(".")}]]\n${section(item, name, random)}`));
    } else if (isTable(value) && !isDeep && random.chance(0.8)) {
      later.push(`[${name.join(".")}]\n${section(value, name, random)}`);
    } else {
      lines.push(`${bare(key)} = ${inline(value, random)}\n`);
    }
    if (random.chance(0.01)) lines.push(lines.at(-1) ?? "");
  }
  return [...lines, ...later].join("");
}

function inline(value: Tree, random: Random): string {
  if (Array.isArray(value)) return `[${value.map((item) => inline(item, random)).join(", ")}]`;
  if (isTable(value)) {
    return `{ ${Object.entries(value).map(([key, item]) => `${bare(key)} = ${inline(item, random)}`).join(", ")} }`;
  }
  if (typeof value === "string") return text(value, random);
  if (value === null) {
    return random.pick(["null", "", "nan", "-inf", "1979-05-27T07:32:00Z", "07:32:00", "0x1F", "9".repeat(30)]);
  }
  if (typeof value === "number" && !Number.isInteger(value)) return String(value);
  return typeof value === "number" ? BigInt(Math.trunc(value)).toString().slice(0, 25) : String(value);
}

function text(value: string, random: Random): string {
  if (random.chance(0.1) && !/['\n\0]/.test(value)) return `'${value}'`;
  if (random.chance(0.03)) return `"""${value}"""`;
  return JSON.stringify(value);
}

function bare(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
}

function isTable(value: Tree): value is { [key: string]: Tree } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
