import { FailedPreconditionError, InvalidArgumentError } from "../../base/errors.ts";
import type { Digest, ImageId } from "../../base/ids.ts";
import type { ArtifactManifest, Descriptor } from "../manifest/documents.ts";

/** An artifact on this node. Immutable. */
export interface Artifact {
  /** The hex part of its manifest's digest. */
  readonly id: ImageId;
  readonly digest: Digest;
  /** As they stand in the layout: `repository:tag` or `repository@digest`. May be empty. */
  readonly names: readonly string[];
  /** Digests of indexes that it was chosen from. */
  readonly indexDigests: readonly Digest[];
  readonly manifest: ArtifactManifest;
  /** Of the manifest. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Files, configuration and manifest. */
  readonly sizeBytes: number;
  /** The layout that it is in. */
  readonly root: string;
  readonly readOnly: boolean;
}

/** A file of an artifact, with the name that it has in a volume. */
export interface ArtifactFile {
  /** Relative, without `.`, `..` and doubled slashes. */
  readonly name: string;
  readonly descriptor: Descriptor;
}

/** An artifact was taken for a container image. */
export class NotAnImageError extends FailedPreconditionError {}

const TITLE = "org.opencontainers.image.title";
/** ModelPack's names for the same thing, the newer one first. */
const FILE_PATHS = ["org.cncf.model.filepath", "org.cnai.model.filepath"];
const MAX_COMPONENT_BYTES = 255;
/** A path of a container is in front of it, and all of it may have 4095. */
const MAX_NAME_BYTES = 2048;
const MAX_SHOWN_CHARS = 100;

/**
 * The files that a volume shows: those whose layer has a name.
 *
 * @throws InvalidArgumentError for a name that leads out, is no file name, or is another file's or directory's as well
 */
export function filesOf({ layers }: ArtifactManifest): readonly ArtifactFile[] {
  const files = layers.flatMap((descriptor): ArtifactFile[] => {
    const text = nameIn(descriptor);
    return text === undefined ? [] : [{ name: checkedName(text), descriptor }];
  });
  const names = new Set<string>();
  const directories = new Set<string>();
  for (const { name } of files) {
    if (names.has(name)) throw new InvalidArgumentError(`it has the file ${shown(name)} twice`);
    names.add(name);
    for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
      directories.add(name.slice(0, slash));
    }
  }
  const both = [...names].find((name) => directories.has(name));
  if (both !== undefined) throw new InvalidArgumentError(`it has ${shown(both)} as a file and as a directory`);
  return files;
}

function nameIn({ annotations = {} }: Descriptor): string | undefined {
  return [TITLE, ...FILE_PATHS].map((key) => annotations[key]).find((name) => name !== undefined && name !== "");
}

function checkedName(text: string): string {
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  const bytes = (part: string): number => new TextEncoder().encode(part).length;
  const reason = text.startsWith("/")
    ? "is absolute"
    : parts.includes("..")
    ? "leads out of the volume"
    : parts.length === 0 || text.endsWith("/")
    ? "is none of a file"
    : text.includes("\0")
    ? "has a NUL byte"
    : bytes(text) > MAX_NAME_BYTES || parts.some((part) => bytes(part) > MAX_COMPONENT_BYTES)
    ? "is too long"
    : undefined;
  if (reason === undefined) return parts.join("/");
  throw new InvalidArgumentError(`its file name ${shown(text)} ${reason}`);
}

function shown(name: string): string {
  return JSON.stringify(name.length > MAX_SHOWN_CHARS ? `${name.slice(0, MAX_SHOWN_CHARS)}…` : name);
}
