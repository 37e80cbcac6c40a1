import { removedName } from "./message.ts";

/** How the things of one field are told apart, and who keeps note of their owners. */
export interface NamedField<Item> {
  nameOf(item: Item): string;
  /** Takes note of who sets it. @throws PluginConflict */
  claim(name: string): void;
  /** Takes note of who takes it away. */
  clear(name: string): void;
}

/**
 * Merges things that have a name, such as mounts and their destinations. A thing replaces an earlier one of its name; a name with
 * the mark of removal takes it away. Each name stands at most once in the result.
 *
 * @param wanted by the plugin whose turn it is
 * @param into what earlier plugins wanted, and what there is: the container as the next plugin sees it
 */
export function mergeNamed<Item>(
  wanted: readonly Item[],
  into: { readonly adjusted: readonly Item[]; readonly present: readonly Item[] },
  { nameOf, claim, clear }: NamedField<Item>,
): { adjusted: Item[]; present: Item[] } {
  const added = wanted.filter((item) => removedName(nameOf(item)) === undefined);
  const removals = wanted.filter((item) => removedName(nameOf(item)) !== undefined);
  for (const item of removals) clear(removedName(nameOf(item)) ?? "");
  for (const item of added) claim(nameOf(item));
  const addedNames = new Set(added.map(nameOf));
  const touched = new Set(wanted.map((item) => removedName(nameOf(item)) ?? nameOf(item)));
  const kept = into.adjusted.filter((item) => !touched.has(removedName(nameOf(item)) ?? nameOf(item)));
  return {
    adjusted: [...kept, ...removals.filter((item) => !addedNames.has(removedName(nameOf(item)) ?? "")), ...added],
    present: [...into.present.filter((item) => !touched.has(nameOf(item))), ...added],
  };
}

/** {@link mergeNamed} for maps, whose keys are the names. */
export function mergeMaps<Value>(
  wanted: ReadonlyMap<string, Value>,
  into: { readonly adjusted: ReadonlyMap<string, Value>; readonly present: ReadonlyMap<string, Value> },
  ownership: Omit<NamedField<[string, Value]>, "nameOf">,
): { adjusted: Map<string, Value>; present: Map<string, Value> } {
  const lists = { adjusted: [...into.adjusted], present: [...into.present] };
  const merged = mergeNamed([...wanted], lists, { ...ownership, nameOf: ([name]) => name });
  return { adjusted: new Map(merged.adjusted), present: new Map(merged.present) };
}
