import { type ContainerEdits, readEdits, usesOf } from "./edits.ts";
import { arrayOf, CdiFormatError, fieldsOf, optional, stringMap, text } from "./_fields.ts";
import { deviceNameProblem, kindProblem } from "./names.ts";

/** One CDI specification file (cncf-tags/container-device-interface SPEC.md). */
export interface CdiDocument {
  /** `<vendor>/<class>` of all its devices. */
  readonly kind: string;
  /** By their own names. */
  readonly devices: ReadonlyMap<string, ContainerEdits>;
  /** Made once for a container that gets any of the devices. */
  readonly edits: ContainerEdits;
}

/** All released versions, oldest first. */
const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/**
 * Reads what a file holds, strictly: a field that is not known, or that its version does not have, makes it wrong.
 *
 * @throws CdiFormatError with the place of the first mistake
 */
export function readCdiDocument(value: unknown): CdiDocument {
  const fields = fieldsOf(value, "", ["cdiVersion", "kind", "annotations", "devices", "containerEdits"]);
  const version = text(fields, "cdiVersion").replace(/^v/, "");
  if (!VERSIONS.includes(version)) {
    throw new CdiFormatError("cdiVersion", `${JSON.stringify(version)} is not known; the newest is ${VERSIONS.at(-1)}`);
  }
  const kind = text(fields, "kind");
  const problem = kindProblem(kind);
  if (problem !== undefined) throw new CdiFormatError("kind", problem);
  const uses = new Map<string, string>();
  const annotations = stringMap(fields, "annotations");
  if (annotations !== undefined) uses.set("annotations", "0.6.0");
  if (kind.slice(kind.indexOf("/")).includes(".")) uses.set("a class with a dot", "0.6.0");
  const edits = optional(fields, "containerEdits", readEdits) ?? {};
  for (const [use, since] of usesOf(edits)) uses.set(use, since);
  const devices = devicesOf(fields, uses);
  for (const [use, since] of uses) {
    if (VERSIONS.indexOf(version) >= VERSIONS.indexOf(since)) continue;
    throw new CdiFormatError("cdiVersion", `${version} has no ${use}: that came with ${since}`);
  }
  return { kind, devices, edits };
}

function devicesOf(fields: ReadonlyMap<string, unknown>, uses: Map<string, string>): Map<string, ContainerEdits> {
  const devices = new Map<string, ContainerEdits>();
  for (const [place, value] of arrayOf(fields, "devices")) {
    const device = fieldsOf(value, place, ["name", "annotations", "containerEdits"]);
    const name = text(device, "name");
    const problem = deviceNameProblem(name);
    if (problem !== undefined) throw new CdiFormatError(`${place}.name`, problem);
    if (devices.has(name)) throw new CdiFormatError(`${place}.name`, `${JSON.stringify(name)} is there twice`);
    if (stringMap(device, "annotations") !== undefined) uses.set("annotations", "0.6.0");
    if (/^\d/.test(name)) uses.set("a device name that begins with a digit", "0.5.0");
    const edits = optional(device, "containerEdits", readEdits) ?? {};
    if (Object.keys(edits).length === 0) throw new CdiFormatError(`${place}.containerEdits`, "changes nothing");
    for (const [use, since] of usesOf(edits)) uses.set(use, since);
    devices.set(name, edits);
  }
  if (devices.size === 0) throw new CdiFormatError("devices", "lists none");
  return devices;
}
