/** CPU numbers of a list such as `0-3,8` (cpuset(7), list format), ascending and each once; the empty text has none. */
export function parseCpuSet(text: string): number[] {
  const cpus = new Set<number>();
  for (const part of text.trim().split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (match === null) continue;
    const first = Number(match[1]);
    const last = Math.min(Number(match[2] ?? first), MAX_CPU);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** Linux has no more (CONFIG_NR_CPUS). */
const MAX_CPU = 8191;

/** The list of these CPUs in the same format. */
export function formatCpuSet(cpus: Iterable<number>): string {
  const ranges: string[] = [];
  const sorted = [...new Set(cpus)].sort((a, b) => a - b);
  for (let start = 0; start < sorted.length;) {
    let end = start;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
    ranges.push(start === end ? `${sorted[start]}` : `${sorted[start]}-${sorted[end]}`);
    start = end + 1;
  }
  return ranges.join(",");
}

/** The CPUs of either list. */
export function unionOf(a: string, b: string): string {
  return formatCpuSet([...parseCpuSet(a), ...parseCpuSet(b)]);
}

/** The CPUs of the first list that are not in the second. */
export function differenceOf(a: string, b: string): string {
  const taken = new Set(parseCpuSet(b));
  return formatCpuSet(parseCpuSet(a).filter((cpu) => !taken.has(cpu)));
}
