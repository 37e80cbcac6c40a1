import { strings, type Table, tables, wrong } from "./_fields.ts";

/** What a file of version 1 says (`[registries.search]`, `[registries.insecure]`, `[registries.block]`), in version 2's words. */
export function upgraded(table: Table, file: string): Table {
  const mixed = ["registry", "unqualified-search-registries", "aliases"].find((key) => table[key] !== undefined);
  if (mixed !== undefined) {
    throw wrong({ file, key: mixed }, "is of version 2 of the format, [registries] is of version 1: use one of them");
  }
  const list = (key: string): readonly string[] => {
    const where = { file, key: `registries.${key}.registries` };
    const [section = {}] = tables([(table["registries"] as Table)[key] ?? {}], where);
    return section["registries"] === undefined ? [] : strings(section["registries"], where);
  };
  const [insecure, blocked] = [new Set(list("insecure")), new Set(list("block"))];
  return {
    "unqualified-search-registries": list("search"),
    registry: [...insecure.union(blocked)].map((location) => ({
      location,
      insecure: insecure.has(location),
      blocked: blocked.has(location),
    })),
  };
}
