import { InvalidArgumentError } from "../../base/errors.ts";
import { hostIdOf, type IdMap, type IdMaps } from "../../base/id_maps.ts";
import { type Annotations, annotationValue } from "../../config/annotations.ts";
import type { Config } from "../../config/schema.ts";
import type { SandboxSpec } from "../types.ts";
import { parseIdMaps, parseUserNamespace, type UserNamespaceWish } from "./annotation.ts";
import { fill, type IdRange, parseSubordinateIds, without } from "./pool.ts";

/** Ids of a user namespace that nobody gave a size: what Kubernetes gives each pod. */
const DEFAULT_SIZE = 65_536;

export interface UserNamespaceDeps {
  readonly config: Pick<Config["runtime"], "uidMappings" | "gidMappings" | "minimumMappableUid" | "minimumMappableGid">;
  /** Maps that pods of this daemon and containers of other programs have. */
  readonly used: () => Promise<readonly IdMaps[]>;
  /** Where subuid and subgid are. Default `/etc`. */
  readonly directory?: string;
}

/** Decides which user namespace a pod has: by its request, else by its annotation, else by the configuration. */
export class UserNamespaces {
  readonly #defaults: IdMaps | undefined;

  /** @throws InvalidArgumentError for mappings in the configuration that are none */
  constructor(private readonly deps: UserNamespaceDeps) {
    const { uidMappings, gidMappings } = deps.config;
    const maps = { uidMaps: parseIdMaps(uidMappings), gidMaps: parseIdMaps(gidMappings) };
    this.#defaults = maps.uidMaps.length > 0 && maps.gidMaps.length > 0 ? maps : undefined;
  }

  /**
   * The id maps of a pod; undefined when it has the node's user namespace. Callers wait for one answer, and record it,
   * before they ask again.
   *
   * @param annotations of the pod that count
   * @throws InvalidArgumentError; ResourceExhaustedError when the node's pool of ids is used up
   */
  async mapsOf({ security }: SandboxSpec, annotations: Annotations): Promise<IdMaps | undefined> {
    const { user } = security.namespaces;
    if (user === "node") return undefined;
    const mode = annotationValue(annotations, "usernsMode") ?? "";
    const maps = user ?? (mode === "" ? this.#defaults : await this.#wished(parseUserNamespace(mode), security));
    if (maps !== undefined) this.#check(maps);
    return maps;
  }

  async #wished(wish: UserNamespaceWish, security: SandboxSpec["security"]): Promise<IdMaps> {
    if (wish.kind === "private") return wish.maps;
    const { size = DEFAULT_SIZE, fixed } = wish;
    const used = await this.deps.used();
    const uids = [...fixed.uidMaps, ...kept(wish, security.runAsUser)];
    const gids = [...fixed.gidMaps, ...kept(wish, security.runAsGroup)];
    return {
      uidMaps: fill({
        size,
        fixed: uids,
        free: await this.#free("subuid", used.flatMap((maps) => maps.uidMaps)),
        what: "subuid",
      }),
      gidMaps: fill({
        size,
        fixed: gids,
        free: await this.#free("subgid", used.flatMap((maps) => maps.gidMaps)),
        what: "subgid",
      }),
    };
  }

  async #free(file: string, used: readonly IdMap[]): Promise<IdRange[]> {
    const { directory = "/etc" } = this.deps;
    const text = await Deno.readTextFile(`${directory}/${file}`).catch(() => "");
    return without(
      parseSubordinateIds(text),
      used.map(({ hostId, length }) => ({ start: hostId, end: hostId + length })),
    );
  }

  #check({ uidMaps, gidMaps }: IdMaps): void {
    const { minimumMappableUid, minimumMappableGid } = this.deps.config;
    checkMap(uidMaps, { what: "user", lowest: minimumMappableUid });
    checkMap(gidMaps, { what: "group", lowest: minimumMappableGid });
  }
}

/** The range that keeps the pod's own id, or makes it root. */
function kept({ keepId, mapToRoot }: { keepId: boolean; mapToRoot: boolean }, id: number | undefined): IdMap[] {
  if (id === undefined || !(keepId || mapToRoot)) return [];
  return [{ containerId: keepId ? id : 0, hostId: id, length: 1 }];
}

function checkMap(maps: readonly IdMap[], { what, lowest }: { what: string; lowest: number }): void {
  if (hostIdOf(maps, 0) === undefined) {
    throw new InvalidArgumentError(`the user namespace does not map ${what} 0, as which containers begin`);
  }
  for (const [index, map] of maps.entries()) {
    if (map.hostId < lowest) {
      throw new InvalidArgumentError(
        `the user namespace maps ${what} ${map.hostId} of the node, below ${lowest} (minimum_mappable)`,
      );
    }
    for (const other of maps.slice(index + 1)) {
      const twice = overlap(map.containerId, other.containerId, { map, other }) ||
        overlap(map.hostId, other.hostId, { map, other });
      if (twice) throw new InvalidArgumentError(`the user namespace maps ${what} ids twice`);
    }
  }
}

function overlap(a: number, b: number, { map, other }: { readonly map: IdMap; readonly other: IdMap }): boolean {
  return a < b + other.length && b < a + map.length;
}
