/** What a problem is about; the first five are those that CRI-O counts. */
export type ProblemSubject =
  | "layer"
  | "read-only layer"
  | "image"
  | "read-only image"
  | "container"
  /** Space that nothing uses: what a crash left. */
  | "leftover"
  /** A file of records. */
  | "store";

/** The closed list of what can be wrong. */
export type ProblemKind =
  | "directory-missing"
  | "short-name"
  | "lower"
  | "parent-missing"
  | "parent-loop"
  | "data"
  | "content"
  | "layer-missing"
  | "layer-damaged"
  | "layers-differ"
  | "image-missing"
  | "image-damaged"
  | "name-twice"
  | "unreferenced"
  | "unfinished"
  | "no-record"
  | "no-container"
  | "records";

/** One thing that is wrong in a store. */
export interface StoreProblem {
  readonly subject: ProblemSubject;
  readonly kind: ProblemKind;
  /** Id of the layer, image or container; the path of a leftover or a file. */
  readonly id: string;
  /** In words. */
  readonly detail: string;
}

/** How much is looked at. */
export interface CheckScope {
  /** Layers that nothing uses count once they are older than this, in milliseconds: a pull may be under way. Default a day. */
  readonly unreferencedAgeMs?: number;
  /** Checks a layer's files against what they were unpacked from. Absent: they are not read. */
  readonly content?: (layer: LayerFiles) => Promise<ContentVerdict>;
  readonly signal?: AbortSignal;
}

/** A layer whose files can be checked. */
export interface LayerFiles {
  readonly id: string;
  readonly directory: string;
  readonly tarSplitPath: string;
  readonly diffId: string;
  readonly sizeBytes?: number;
  /** False: its ids are mapped, and owners are not the archive's. */
  readonly owners: boolean;
}

/** What a check of a layer's files says. `unverifiable` is no damage. */
export type ContentVerdict =
  | { readonly kind: "sound" }
  | { readonly kind: "unverifiable" | "damaged"; readonly reason: string };

/** What was looked at, and what is wrong. */
export interface CheckReport {
  readonly problems: readonly StoreProblem[];
  readonly layers: number;
  readonly images: number;
  readonly containers: number;
  /** Layers whose files were read and compared. */
  readonly verified: number;
  /** Layers whose files could not be compared, with the reason. */
  readonly unverifiable: readonly { readonly id: string; readonly reason: string }[];
}

/** What a repair did. */
export interface RepairReport {
  /** In words, one item each. */
  readonly done: readonly string[];
  /** What could not be put right, and why. */
  readonly failed: readonly string[];
}
