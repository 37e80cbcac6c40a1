import { PluginConflict } from "./errors.ts";
import { Field, type FieldOwners, OwningPlugins } from "./gen/nri.ts";
import { asRemoved, message, removedName } from "./message.ts";

/** How each field is called in errors. Field numbers without a name here do not occur. */
const FIELD_NAMES = new Map<number, string>(Object.entries(Field).map(([name, field]) => [field, name]));

/**
 * Which plugin set what. Each field, and each entry of a field that has several, belongs to the first plugin that sets
 * it; another one can only set it after having cleared it, which makes it the owner.
 */
export class Owners {
  readonly #owning = message(OwningPlugins);

  /**
   * Notes that `plugin` sets a field of a container.
   *
   * @param claim.entry for fields with several entries: the variable, the mount's destination, …
   * @throws PluginConflict when it has been set before
   */
  claim(containerId: string, claim: { readonly field: Field; readonly entry?: string; readonly plugin: string }): void {
    const owners = this.#of(containerId, claim);
    const key = claim.entry ?? claim.field;
    const owner = owners.get(key);
    if (owner !== undefined && removedName(owner) !== claim.plugin) {
      const what = `${FIELD_NAMES.get(claim.field)}${claim.entry === undefined ? "" : ` ${claim.entry}`}`;
      const other = removedName(owner) ?? owner;
      const who = other === claim.plugin ? `plugin "${other}" sets ${what} twice` : undefined;
      throw new PluginConflict(`NRI: ${who ?? `plugins "${other}" and "${claim.plugin}" both set ${what}`}`);
    }
    owners.set(key, claim.plugin);
  }

  /** Notes that `plugin` takes away what a plugin has set, and may set it anew; without such an owner nothing is noted. */
  clear(containerId: string, claim: { readonly field: Field; readonly entry?: string; readonly plugin: string }): void {
    const owners = this.#of(containerId, claim);
    const key = claim.entry ?? claim.field;
    if (owners.has(key)) owners.set(key, asRemoved(claim.plugin));
  }

  /** Notes one more plugin that adds to a field to which any number may add. */
  share(containerId: string, { field, plugin }: { readonly field: Field; readonly plugin: string }): void {
    const owners = this.#of(containerId, { field });
    const others = owners.get(field);
    owners.set(field, others === undefined ? plugin : `${others},${plugin}`);
  }

  /** As validators get it. */
  message(): OwningPlugins {
    return this.#owning;
  }

  #of(containerId: string, { field, entry }: { field: Field; entry?: string }): Map<string | number, string> {
    const fields: FieldOwners = this.#owning.owners.get(containerId) ?? { simple: new Map(), compound: new Map() };
    this.#owning.owners.set(containerId, fields);
    if (entry === undefined) return fields.simple as Map<string | number, string>;
    const entries = fields.compound.get(field) ?? { owners: new Map() };
    fields.compound.set(field, entries);
    return entries.owners as Map<string | number, string>;
  }
}
