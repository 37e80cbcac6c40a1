import {
  isNamespacePinned,
  pinNamespaces,
  type PinnedKind,
  type PinnedNamespaces,
  pinPaths,
  unpinNamespace,
} from "../linux/namespaces.ts";
import type { NamespacePins } from "./ports.ts";

/** Namespaces of pods, pinned below one directory of this node. */
export class NodePins implements NamespacePins {
  constructor(private readonly directory: string) {}

  pin(request: {
    name: string;
    kinds: readonly PinnedKind[];
    hostname: string;
    sysctls: Readonly<Record<string, string>>;
  }): PinnedNamespaces {
    const { hostname, ...rest } = request;
    const named = request.kinds.includes("uts") ? { hostname } : {};
    return pinNamespaces({ directory: this.directory, ...rest, ...named });
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
