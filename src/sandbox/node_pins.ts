import type { IdMaps } from "../base/id_maps.ts";
import {
  isNamespacePinned,
  pinNamespaces,
  type PinnedKind,
  type PinnedNamespaces,
  pinPaths,
  unpinNamespace,
} from "../linux/namespaces.ts";
import { pinOwnedNamespaces } from "../linux/user_namespace.ts";
import type { NamespacePins } from "./ports.ts";

/** Namespaces of pods, pinned below one directory of this node. */
export class NodePins implements NamespacePins {
  constructor(private readonly directory: string) {}

  async pin(request: {
    name: string;
    kinds: readonly PinnedKind[];
    hostname: string;
    sysctls: Readonly<Record<string, string>>;
    userMaps?: IdMaps;
    signal: AbortSignal;
  }): Promise<PinnedNamespaces & { readonly user?: string }> {
    const { hostname, userMaps: maps, signal, ...rest } = request;
    const named = request.kinds.includes("uts") ? { hostname } : {};
    const options = { directory: this.directory, ...rest, ...named };
    return maps === undefined ? pinNamespaces(options) : await pinOwnedNamespaces({ ...options, maps, signal });
  }

  paths(name: string): readonly string[] {
    return pinPaths({ directory: this.directory, name });
  }

  unpin(path: string): void {
    unpinNamespace(path);
  }

  isPinned(path: string): boolean {
    return isNamespacePinned(path);
  }
}
