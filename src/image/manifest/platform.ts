import { FailedPreconditionError } from "../../base/errors.ts";
import type { Descriptor, Platform } from "./documents.ts";

const MAX_SHOWN = 12;

/** The platform whose images this machine runs. */
export function hostPlatform(): Platform {
  return Deno.build.arch === "aarch64"
    ? { os: "linux", architecture: "arm64", variant: "v8" }
    : { os: "linux", architecture: "amd64", variant: "" };
}

/**
 * Chooses from an index: the wanted architecture with the wanted variant, else without a variant, else in the variant
 * that is the baseline of the architecture. An only entry that names no platform is taken as it is.
 *
 * @throws FailedPreconditionError with the platforms that there are
 */
export function choosePlatform(manifests: readonly Descriptor[], wanted: Platform): Descriptor {
  const sameArchitecture = manifests.filter(({ platform }) =>
    platform?.os === wanted.os && platform.architecture === wanted.architecture
  );
  for (const variant of acceptableVariants(wanted)) {
    const found = sameArchitecture.find(({ platform }) => platform?.variant === variant);
    if (found !== undefined) return found;
  }
  const only = manifests[0];
  if (manifests.length === 1 && only !== undefined && only.platform === undefined) return only;
  throw new FailedPreconditionError(
    `the image has no variant for ${describe(wanted)}; it has ${platformList(manifests) || "none"}`,
  );
}

/** `os/architecture[/variant]`. */
export function describe(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter((part) => part !== "").join("/");
}

/** v8 is what every arm64 has, v1 what every amd64 has. */
function acceptableVariants(wanted: Platform): readonly string[] {
  return wanted.architecture === "arm64" ? [wanted.variant, "", "v8"] : [wanted.variant, "", "v1"];
}

function platformList(manifests: readonly Descriptor[]): string {
  const names = manifests.flatMap(({ platform }) =>
    // Attestations are listed as unknown/unknown.
    platform === undefined || platform.os === "unknown" ? [] : [describe(platform)]
  );
  const unique = [...new Set(names)];
  return unique.length > MAX_SHOWN ? `${unique.slice(0, MAX_SHOWN).join(", ")}, …` : unique.join(", ");
}
