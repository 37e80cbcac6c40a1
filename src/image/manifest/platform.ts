import { FailedPreconditionError } from "../../base/errors.ts";
import type { Descriptor, Platform } from "./documents.ts";

const MAX_SHOWN = 12;
const MAX_SHOWN_CHARS = 60;
/** Enough of /proc/cpuinfo for the first processor's flags. */
const CPUINFO_BYTES = 8192;

/** What each level of amd64 adds (x86-64 psABI), as Linux names it in /proc/cpuinfo. */
const AMD64_LEVELS: readonly string[] = [
  "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
  "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
  "avx512f avx512bw avx512cd avx512dq avx512vl",
];

/** The platform whose images this machine runs, with the highest level of its processor. */
export async function hostPlatform(): Promise<Platform> {
  if (Deno.build.arch === "aarch64") return { os: "linux", architecture: "arm64", variant: "v8" };
  return { os: "linux", architecture: "amd64", variant: amd64Variant(await cpuInfo()) };
}

/** `v1` to `v4`, from what /proc/cpuinfo begins with; empty when that does not tell. */
export function amd64Variant(cpuinfo: string): string {
  const line = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1];
  if (line === undefined) return "";
  const flags = new Set(line.split(" "));
  const missing = AMD64_LEVELS.findIndex((level) => !level.split(" ").every((flag) => flags.has(flag)));
  return `v${missing === -1 ? AMD64_LEVELS.length + 1 : missing + 1}`;
}

/**
 * Chooses from an index: the wanted architecture with the wanted variant, else the next lower one that this machine runs
 * as well, down to the baseline, which may go without a name. An only entry that names no platform is taken as it is.
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

/** The lowest variant of each architecture: what an entry without a variant means (amd64 and arm64), or may mean (arm). */
const BASELINE: Readonly<Record<string, number>> = { amd64: 1, arm64: 8, arm: 5 };

/** `v8` of arm is 32-bit code on a 64-bit processor: it runs v7. Nothing is known of other architectures' variants. */
function acceptableVariants({ architecture, variant }: Platform): readonly string[] {
  const baseline = BASELINE[architecture];
  const level = /^v([1-9])(?:\.\d+)?$/.exec(variant)?.[1];
  if (baseline === undefined) return [variant, ""];
  const names = [variant];
  for (let number = level === undefined ? baseline : Number(level); number >= baseline; number--) {
    // Before the baseline's own name, as ever: most indexes name no variant for it.
    if (number === baseline) names.push("");
    names.push(`v${number}`);
  }
  return names;
}

async function cpuInfo(): Promise<string> {
  try {
    using file = await Deno.open("/proc/cpuinfo");
    const buffer = new Uint8Array(CPUINFO_BYTES);
    const length = await file.read(buffer) ?? 0;
    return new TextDecoder().decode(buffer.subarray(0, length));
  } catch {
    return "";
  }
}

function platformList(manifests: readonly Descriptor[]): string {
  const names = manifests.flatMap(({ platform }) =>
    // Attestations are listed as unknown/unknown.
    platform === undefined || platform.os === "unknown" ? [] : [describe(platform).slice(0, MAX_SHOWN_CHARS)]
  );
  const unique = [...new Set(names)];
  return unique.length > MAX_SHOWN ? `${unique.slice(0, MAX_SHOWN).join(", ")}, …` : unique.join(", ");
}
