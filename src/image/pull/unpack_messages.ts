/** What the pull process and its unpacking thread say to each other. Buffers are handed over, not copied. */
import type { ErrorKind } from "../../base/errors.ts";
import type { UnpackedLayer } from "../unpack/unpack_layer.ts";
import type { Bytes } from "./decompress.ts";

export type ToUnpacker =
  | { readonly type: "open"; readonly id: number; readonly directory: string; readonly tarSplitPath: string }
  | { readonly type: "data"; readonly id: number; readonly pieces: readonly Bytes[] }
  | { readonly type: "end"; readonly id: number }
  /** Answered like everything: with `failed`, once nothing is written any more; not after `done` or `failed`. */
  | { readonly type: "abort"; readonly id: number }
  /** There is no more work: give memory back, and end. */
  | { readonly type: "leave" };

export type FromUnpacker =
  | { readonly type: "ready" }
  /** So many bytes more were worked through. */
  | { readonly type: "taken"; readonly id: number; readonly bytes: number }
  /** The last word about a layer, as is `failed`. */
  | { readonly type: "done"; readonly id: number; readonly layer: UnpackedLayer }
  | { readonly type: "failed"; readonly id: number; readonly kind: ErrorKind; readonly message: string };

/** How the main module tells that it was started as this thread: its global scope has this name. */
export const UNPACK_THREAD = "crio-unpack";
