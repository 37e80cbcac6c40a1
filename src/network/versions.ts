/** Versions of the CNI specification that this runtime speaks, oldest first. */
export const CNI_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** Whether `version` is one of {@link CNI_VERSIONS}. */
export function isSupportedVersion(version: string): boolean {
  return CNI_VERSIONS.some((known) => known === version);
}

/** Whether specification version `version` is `minimum` or later. */
export function versionAtLeast(version: string, minimum: string): boolean {
  const [have, need] = [version, minimum].map((text) => text.split(".").map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (have?.[i] ?? 0) - (need?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
