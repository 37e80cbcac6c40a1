import type { Counter, Histogram } from "prom-client";
import type { MakeCounter } from "./container_metrics.ts";

/** Told of what is pulled. */
export interface ImageObserver {
  received(bytes: number, layer: { readonly mediaType: string; readonly layerBytes: number }): void;
  layerDone(layerBytes: number): void;
  layerReused(name: string): void;
  skipped(imageBytes: number): void;
  succeeded(): void;
  failed(failure: ImagePullFailure): void;
}

/** What failures are told apart by. */
export interface ImagePullFailure {
  readonly kind: string;
  readonly message: string;
  /** A registry's error codes. */
  readonly codes: readonly string[];
  /** HTTP status, if a registry gave one. */
  readonly status: number | undefined;
}

/** Makes the histogram unless the configuration leaves it out. */
export type MakeHistogram = (
  name: string,
  options: { readonly help: string; readonly buckets: readonly number[] },
) => Histogram | undefined;

/** CRI-O's size classes: decimal limits in bytes, ascending, and what it calls a size above each. */
const SIZE_CLASSES: readonly (readonly [number, string])[] = [
  [1e3, ">1 KiB"],
  [1e6, ">1 MiB"],
  [10e6, ">10 MiB"],
  [50e6, ">50 MiB"],
  [100e6, ">100 MiB"],
  [200e6, ">200 MiB"],
  [300e6, ">300 MiB"],
  [400e6, ">400 MiB"],
  [500e6, ">500 MiB"],
  [1e9, ">1 GiB"],
  [10e9, ">10 GiB"],
];

/** Media types that layers have; a label must not be what a registry makes up. */
const MEDIA_TYPE = /^application\/vnd\.(?:oci|docker)\.image\.(?:layer\.v1|rootfs)\.[a-z0-9.+]{1,60}$/;
/** The distribution API's error codes: as a label, nothing else is taken from a registry. */
const CODES: ReadonlySet<string> = new Set([
  "BLOB_UNKNOWN",
  "BLOB_UPLOAD_INVALID",
  "BLOB_UPLOAD_UNKNOWN",
  "DENIED",
  "DIGEST_INVALID",
  "MANIFEST_BLOB_UNKNOWN",
  "MANIFEST_INVALID",
  "MANIFEST_UNKNOWN",
  "MANIFEST_UNVERIFIED",
  "NAME_INVALID",
  "NAME_UNKNOWN",
  "PAGINATION_NUMBER_INVALID",
  "RANGE_INVALID",
  "SIZE_INVALID",
  "TAG_INVALID",
  "TOOMANYREQUESTS",
  "UNAUTHORIZED",
  "UNAVAILABLE",
  "UNSUPPORTED",
]);

/** Counters of pulls, by CRI-O's names. */
export class ImageMetrics implements ImageObserver {
  readonly #layerSize: Histogram | undefined;
  readonly #bytes: Counter<"mediatype" | "size"> | undefined;
  readonly #skipped: Counter<"size"> | undefined;
  readonly #failures: Counter<"error"> | undefined;
  readonly #successes: Counter | undefined;
  readonly #reused: Counter<"name"> | undefined;

  constructor(make: MakeCounter, makeHistogram: MakeHistogram) {
    this.#layerSize = makeHistogram("image_pulls_layer_size", {
      help: "Compressed sizes of layers that were pulled, in bytes.",
      buckets: SIZE_CLASSES.map(([limit]) => limit),
    });
    this.#bytes = make("image_pulls_bytes_total", {
      help: "Bytes of layers that were received, by media type and size class of the layer.",
      labelNames: ["mediatype", "size"],
    });
    this.#skipped = make("image_pulls_skipped_bytes_total", {
      help: "Bytes of images that were pulled and were here already, by size class of the image.",
      labelNames: ["size"],
    });
    this.#failures = make("image_pulls_failure_total", {
      help: "Pulls that failed, by the registry's error code or the kind of failure.",
      labelNames: ["error"],
    });
    this.#successes = make("image_pulls_success_total", { help: "Pulls that succeeded." });
    this.#reused = make("image_layer_reuse_total", {
      help: "Layers that were here already when an image was pulled, by image and digest.",
      labelNames: ["name"],
    });
  }

  received(
    bytes: number,
    { mediaType, layerBytes }: { readonly mediaType: string; readonly layerBytes: number },
  ): void {
    const mediatype = MEDIA_TYPE.test(mediaType) ? mediaType : "other";
    this.#bytes?.inc({ mediatype, size: sizeClass(layerBytes) }, bytes);
  }

  layerDone(layerBytes: number): void {
    this.#layerSize?.observe(layerBytes);
  }

  layerReused(name: string): void {
    this.#reused?.inc({ name });
  }

  skipped(imageBytes: number): void {
    this.#skipped?.inc({ size: sizeClass(imageBytes) }, imageBytes);
  }

  succeeded(): void {
    this.#successes?.inc();
  }

  failed(failure: ImagePullFailure): void {
    this.#failures?.inc({ error: errorLabel(failure) });
  }
}

function sizeClass(bytes: number): string {
  return SIZE_CLASSES.findLast(([limit]) => bytes > limit)?.[1] ?? ">0 B";
}

function errorLabel({ kind, message, codes, status }: ImagePullFailure): string {
  const code = codes.find((code) => CODES.has(code));
  if (code !== undefined) return code;
  if (status === 404) return "NOT_FOUND";
  if (/connection refused/i.test(message)) return "CONNECTION_REFUSED";
  if (kind === "deadline_exceeded" || /timed out/i.test(message)) return "CONNECTION_TIMEOUT";
  return kind === "not_found" ? "NOT_FOUND" : "UNKNOWN";
}
