import { ResourceExhaustedError } from "../../base/errors.ts";
import type { IdMap } from "../../base/id_maps.ts";

/** A half-open range of ids: `end` is the first one behind it. */
export interface IdRange {
  readonly start: number;
  readonly end: number;
}

/** The name whose subordinate ids pods get, as podman has it (containers-storage.conf(5), root-auto-userns-user). */
export const POOL_OWNER = "containers";

/** The ranges of one owner in a subuid(5) or subgid(5) file. */
export function parseSubordinateIds(text: string, owner: string = POOL_OWNER): IdRange[] {
  return text.split("\n").flatMap((line) => {
    const [name, start, count] = line.trim().split(":");
    if (name !== owner || !/^\d+$/.test(start ?? "") || !/^\d+$/.test(count ?? "")) return [];
    return [{ start: Number(start), end: Number(start) + Number(count) }];
  });
}

/** What is left of ranges without others, ascending. */
export function without(ranges: readonly IdRange[], taken: readonly IdRange[]): IdRange[] {
  let left = [...ranges];
  for (const { start, end } of taken) {
    left = left.flatMap((range) => {
      if (end <= range.start || start >= range.end) return [range];
      return [{ start: range.start, end: start }, { start: end, end: range.end }].filter((one) => one.start < one.end);
    });
  }
  return left.sort((a, b) => a.start - b.start);
}

/**
 * A map of the container ids 0 to `size` - 1: the fixed ranges as they are, and free ids of the node for the rest, in one
 * piece where one is long enough.
 *
 * @throws ResourceExhaustedError when there are not enough
 */
export function fill(
  { size, fixed, free, what }: {
    readonly size: number;
    readonly fixed: readonly IdMap[];
    readonly free: readonly IdRange[];
    /** `subuid` or `subgid`, for the message. */
    readonly what: string;
  },
): IdMap[] {
  const inside = fixed.map(({ containerId, length }) => ({ start: containerId, end: containerId + length }));
  const gaps = without([{ start: 0, end: size }], inside);
  const needed = gaps.reduce((sum, { start, end }) => sum + end - start, 0);
  let hosts = without(free, fixed.map(({ hostId, length }) => ({ start: hostId, end: hostId + length })));
  const available = hosts.reduce((sum, { start, end }) => sum + end - start, 0);
  if (available < needed) {
    throw new ResourceExhaustedError(
      `a user namespace of ${size} ids needs ${needed} free ones of "${POOL_OWNER}" in /etc/${what}, and ${available} ` +
        "are left: add a range there",
    );
  }
  const whole = hosts.find(({ start, end }) => end - start >= needed);
  if (whole !== undefined) hosts = [whole];
  const maps = [...fixed];
  for (const gap of gaps) {
    for (let containerId = gap.start; containerId < gap.end;) {
      const [host = { start: 0, end: 0 }, ...others] = hosts;
      const length = Math.min(gap.end - containerId, host.end - host.start);
      maps.push({ containerId, hostId: host.start, length });
      containerId += length;
      const rest = { start: host.start + length, end: host.end };
      hosts = rest.start < rest.end ? [rest, ...others] : others;
    }
  }
  return maps.sort((a, b) => a.containerId - b.containerId);
}
