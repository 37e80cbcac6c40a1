import { FailedPreconditionError } from "../base/errors.ts";
import type { HugepageLimit } from "../base/resources.ts";
import type { CgroupLayout } from "../linux/host.ts";
import { hasController } from "./hierarchies.ts";

/**
 * The huge page limits that can be given to a runtime on this host. The kubelet sends a limit of 0 for each page size;
 * where no hugetlb controller is in reach, runtimes fail on any limit, and 0 is what holds without one, so it is left out.
 *
 * @throws FailedPreconditionError for a limit above 0 that this host cannot set
 */
export function usableHugepageLimits(layout: CgroupLayout, limits: readonly HugepageLimit[]): readonly HugepageLimit[] {
  if (hasController(layout, "hugetlb")) return limits;
  const wanted = limits.find((limit) => limit.limitBytes > 0);
  if (wanted === undefined) return [];
  throw new FailedPreconditionError(
    `huge page limit of ${wanted.limitBytes} bytes for ${wanted.pageSize} pages: this node has no hugetlb cgroup ` +
      `controller where container runtimes look for it; enable it, or drop the limit`,
  );
}
