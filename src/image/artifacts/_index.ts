import { DataLossError } from "../../base/errors.ts";
import { isObject, jsonObject, textsOf } from "../manifest/documents.ts";

/** A descriptor of index.json, as it stands there. */
export interface IndexEntry {
  readonly mediaType?: unknown;
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

/** The full name of an entry. */
export const REF_NAME = "org.opencontainers.image.ref.name";
/** Ours: the index that was asked for, of which the entry is the member for this node. */
export const INDEX_DIGEST = "io.crio.artifact.index.digest";

/** The entries of index.json; fields that are not known stay as they are. @throws DataLossError */
export function parseIndex(bytes: Uint8Array): readonly IndexEntry[] {
  const { manifests = [] } = jsonObject(bytes, "index.json");
  if (!Array.isArray(manifests)) throw new DataLossError("index.json: manifests is not a list");
  return manifests.flatMap((entry): IndexEntry[] => {
    if (!isObject(entry) || typeof entry["digest"] !== "string") return [];
    const { annotations, digest } = entry;
    return [{ ...entry, digest, annotations: isObject(annotations) ? textsOf(annotations) : {} }];
  });
}

/** The text of index.json. */
export function renderIndex(entries: readonly IndexEntry[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: entries });
}
