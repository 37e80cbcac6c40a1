/**
 * What annotations change in one container, each as plain data. All take annotations that have passed the gate.
 *
 * @module
 */
import { InvalidArgumentError } from "../base/errors.ts";
import { type Annotations, annotationValue } from "../config/annotations.ts";

/**
 * The file mode mask of the container's process (`umask.crio.io`).
 *
 * @throws InvalidArgumentError for anything but one to four octal digits
 */
export function umaskOf(annotations: Annotations): number | undefined {
  const text = annotationValue(annotations, "umask");
  if (text === undefined) return undefined;
  if (/^[0-7]{1,4}$/.test(text)) return Number.parseInt(text, 8);
  throw new InvalidArgumentError(`annotation umask.crio.io: ${JSON.stringify(text)} is not an octal mask such as 0077`);
}

/** Whether the container may write to its cgroup hierarchy (`cgroup2-mount-hierarchy-rw.crio.io`; cgroup v2 only). */
export function writesCgroups(annotations: Annotations): boolean {
  return annotationValue(annotations, "cgroup2MountHierarchyRw") === "true";
}

/**
 * Files of cgroup v2 and their values (`unified-cgroup.crio.io/<container>`: `file=value;file=value`, values in base64 or as they are).
 *
 * @throws InvalidArgumentError for an item that is no assignment
 */
export function unifiedOf(annotations: Annotations, container: string): Readonly<Record<string, string>> {
  const text = annotationValue(annotations, "unifiedCgroup", { container }) ?? "";
  const entries = text.split(";").filter((item) => item.trim() !== "").map((item) => {
    const [, file, value] = /^\s*([\w.]+)\s*=(.*)$/s.exec(item) ?? [];
    if (file !== undefined && value !== undefined) return [file, decodeBase64(value) ?? value] as const;
    throw new InvalidArgumentError(
      `annotation unified-cgroup.crio.io/${container}: ${JSON.stringify(item)} is not file=value`,
    );
  });
  return Object.fromEntries(entries);
}

/** The printable text that base64 stands for, else undefined: `1000` would be base64, too, but of nothing that one writes into a file. */
function decodeBase64(text: string): string | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const decoded = atob(text);
  return /^[\x20-\x7e\n\t]*$/.test(decoded) ? decoded : undefined;
}

/** What GOMAXPROCS is worked out from. */
export interface GomaxprocsInput {
  readonly annotations: Annotations;
  /** `min_injected_gomaxprocs`; 0: none is put in. */
  readonly floor: number;
  readonly cgroupParent: string;
  /** Whether the pod belongs to a workload, which manages its CPUs itself. */
  readonly inWorkload: boolean;
  readonly limits: { readonly cpuShares?: number; readonly cpuQuotaMicros?: number };
}

const SHARES_PER_CPU = 1024;

/**
 * The GOMAXPROCS for programs in Go that would otherwise take every CPU of the node for theirs: of burstable and best-effort pods, without a
 * CPU limit (newer Go finds that itself). Undefined: none.
 */
export function gomaxprocsOf({ annotations, floor, ...input }: GomaxprocsInput): number | undefined {
  const { cpuShares = 0, cpuQuotaMicros = 0 } = input.limits;
  if (floor <= 0 || input.inWorkload || cpuQuotaMicros > 0) return undefined;
  if (annotationValue(annotations, "skipGomaxprocs") === "true") return undefined;
  if (!/burstable|besteffort/.test(input.cgroupParent)) return undefined;
  return Math.max(Math.ceil(cpuShares / SHARES_PER_CPU), 1, floor);
}
