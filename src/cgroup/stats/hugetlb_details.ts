import { type ControllerFiles, type ReadText, single } from "./_parse.ts";

/** Huge pages of one size that a cgroup and those below it hold. */
export interface HugetlbUse {
  /** As the kernel names it in files: `2MB`, `1GB`. */
  readonly pageSize: string;
  readonly usageBytes: number;
  /** v1 alone keeps it. */
  readonly peakBytes?: number;
}

/** What hugetlbDetails is read from. @param pageSizes that this machine has */
export function hugetlbFiles(pageSizes: readonly string[]): ControllerFiles {
  const names = (suffixes: readonly string[]): string[] =>
    pageSizes.flatMap((size) => suffixes.map((suffix) => `hugetlb.${size}.${suffix}`));
  return { v1: { hugetlb: names(["usage_in_bytes", "max_usage_in_bytes"]) }, v2: names(["current"]) };
}

/** Sizes that the cgroup counts; undefined when it counts none. */
export function hugetlbDetails(text: ReadText, pageSizes: readonly string[]): readonly HugetlbUse[] | undefined {
  const uses = pageSizes.flatMap((pageSize): HugetlbUse[] => {
    const usageBytes = single(text(`hugetlb.${pageSize}.current`)) ??
      single(text(`hugetlb.${pageSize}.usage_in_bytes`));
    const peakBytes = single(text(`hugetlb.${pageSize}.max_usage_in_bytes`));
    if (usageBytes === undefined) return [];
    return [{ pageSize, usageBytes, ...(peakBytes === undefined ? {} : { peakBytes }) }];
  });
  return uses.length === 0 ? undefined : uses;
}

/** The name that the kernel gives a page size in file names: the largest unit that is not below 1. */
export function pageSizeName(kibi: number): string {
  if (kibi >= 1024 * 1024) return `${Math.floor(kibi / (1024 * 1024))}GB`;
  return kibi >= 1024 ? `${Math.floor(kibi / 1024)}MB` : `${kibi}KB`;
}
