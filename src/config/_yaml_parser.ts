/** A chunk of its own, loaded by `yaml.ts`: imported at run time, the CommonJS package itself would show the bundle no names. */
export { parse } from "yaml";
