import { InvalidArgumentError, messageOf } from "../../base/errors.ts";
import type { IdMap, IdMaps } from "../../base/id_maps.ts";

/** The user namespace that a pod's annotation asks for. */
export type UserNamespaceWish =
  | {
    /** Ids from the node's pool. */
    readonly kind: "auto";
    readonly size: number | undefined;
    /** The pod's user keeps its id. */
    readonly keepId: boolean;
    /** The pod's user becomes root. */
    readonly mapToRoot: boolean;
    /** Ranges that are mapped as given; the pool fills the rest. */
    readonly fixed: IdMaps;
  }
  | { readonly kind: "private"; readonly maps: IdMaps };

const HIGHEST_SIZE = 2 ** 32 - 1;

/**
 * Reads `auto` or `private`, with settings: `auto:size=65536;keep-id=true`, `private:uidmapping=0:1000:400;gidmapping=0:1000:400`.
 *
 * @throws InvalidArgumentError that names the annotation
 */
export function parseUserNamespace(text: string): UserNamespaceWish {
  try {
    return parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`annotation userns-mode ${JSON.stringify(text)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function parse(text: string): UserNamespaceWish {
  const colon = text.indexOf(":");
  const mode = colon === -1 ? text : text.slice(0, colon);
  const allowed = SETTINGS[mode];
  if (allowed === undefined) throw new InvalidArgumentError("the mode is neither auto nor private");
  const settings = settingsOf(colon === -1 ? "" : text.slice(colon + 1), allowed);
  const maps = {
    uidMaps: parseIdMaps(settings.get("uidmapping") ?? ""),
    gidMaps: parseIdMaps(settings.get("gidmapping") ?? ""),
  };
  if (mode === "private") {
    if (maps.uidMaps.length > 0 && maps.gidMaps.length > 0) return { kind: "private", maps };
    throw new InvalidArgumentError("private needs uidmapping and gidmapping");
  }
  const keepId = settings.get("keep-id") === "true";
  const mapToRoot = settings.get("map-to-root") === "true";
  if (keepId && mapToRoot) throw new InvalidArgumentError("keep-id and map-to-root exclude each other");
  return { kind: "auto", size: sizeOf(settings.get("size")), keepId, mapToRoot, fixed: maps };
}

const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  auto: ["size", "keep-id", "map-to-root", "uidmapping", "gidmapping"],
  private: ["uidmapping", "gidmapping"],
};

function settingsOf(text: string, allowed: readonly string[]): Map<string, string> {
  const settings = new Map<string, string>();
  for (const part of text.split(";").filter((one) => one !== "")) {
    const equals = part.indexOf("=");
    const key = part.slice(0, Math.max(equals, 0));
    if (!allowed.includes(key)) {
      throw new InvalidArgumentError(`${JSON.stringify(part)} is none of the settings ${allowed.join(", ")}`);
    }
    settings.set(key, part.slice(equals + 1));
  }
  return settings;
}

function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const size = /^\d+$/.test(text) ? Number(text) : 0;
  if (size > 0 && size <= HIGHEST_SIZE) return size;
  throw new InvalidArgumentError(`size ${JSON.stringify(text)} is not a number of ids`);
}

/**
 * Ranges `container:host:length`, with commas between them.
 *
 * @throws InvalidArgumentError
 */
export function parseIdMaps(text: string): IdMap[] {
  return text.split(",").map((part) => part.trim()).filter((part) => part !== "").map((part) => {
    const [, containerId, hostId, length] = /^(\d+):(\d+):(\d+)$/.exec(part) ?? [];
    if (length === undefined) {
      throw new InvalidArgumentError(`${JSON.stringify(part)} is no range of the form container:host:length`);
    }
    return { containerId: Number(containerId), hostId: Number(hostId), length: Number(length) };
  });
}
