/** The value below which `fraction` of the samples lie (nearest rank); NaN when there are none. */
export function percentile(samples: readonly number[], fraction: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = Math.max(1, Math.ceil(fraction * sorted.length));
  return sorted[rank - 1] ?? NaN;
}

/** Middle value. */
export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}
