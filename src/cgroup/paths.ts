import { InvalidArgumentError } from "../base/errors.ts";

/** Who makes cgroups: we and the runtime through the file system, or systemd on request. */
export type CgroupDriver = "cgroupfs" | "systemd";

/** Where a pod's cgroups hang when the request names no parent; CRI-O's defaults. */
export const DEFAULT_PARENT: Readonly<Record<CgroupDriver, string>> = { cgroupfs: "/crio", systemd: "system.slice" };

const MAX_PATH = 4096;
const MAX_NAME = 255;

export interface ContainerPlace {
  readonly driver: CgroupDriver;
  /** The pod's `cgroup_parent`: a path for cgroupfs, a slice name for systemd; empty: the driver's default. */
  readonly parent: string;
  readonly id: string;
}

/**
 * The pod's own cgroup as an absolute path below each hierarchy's mount point.
 *
 * @throws InvalidArgumentError when the parent does not fit the driver, or leaves the hierarchy
 */
export function podCgroup({ driver, parent }: Omit<ContainerPlace, "id">): string {
  const named = parent === "" ? DEFAULT_PARENT[driver] : parent;
  if (driver === "systemd") return expandSlice(lastPart(named));
  if (named.endsWith(".slice")) {
    throw new InvalidArgumentError(
      `cgroup parent ${JSON.stringify(named)} is a systemd slice, but cgroup_manager is "cgroupfs": ` +
        `set both this daemon and the kubelet to the same cgroup driver`,
    );
  }
  return normalise(named);
}

/**
 * The value of `linux.cgroupsPath` in a container's spec: a path, or `<slice>:crio:<id>`.
 *
 * @throws InvalidArgumentError as {@link podCgroup}
 */
export function runtimeCgroupsPath(place: ContainerPlace): string {
  const pod = podCgroup(place);
  if (place.driver === "cgroupfs") return join(pod, `crio-${place.id}`);
  return `${pod === "/" ? "-.slice" : lastPart(pod)}:crio:${place.id}`;
}

/**
 * The cgroup in which the runtime will have put the container.
 *
 * @throws InvalidArgumentError as {@link podCgroup}
 */
export function containerCgroup(place: ContainerPlace): string {
  const suffix = place.driver === "systemd" ? ".scope" : "";
  return join(podCgroup(place), `crio-${place.id}${suffix}`);
}

/**
 * The monitor's cgroup, beside its container's.
 *
 * @throws InvalidArgumentError as {@link podCgroup}
 */
export function monitorCgroup(place: ContainerPlace): string {
  const suffix = place.driver === "systemd" ? ".scope" : "";
  return join(podCgroup(place), `crio-conmon-${place.id}${suffix}`);
}

/**
 * Where a monitor is counted. With cgroup v2 beside its container, because a cgroup with children takes no process; with
 * v1 in the pod's own: the pod is charged the same, and four cgroups less are made and removed for each container.
 *
 * @throws InvalidArgumentError as {@link podCgroup}
 */
export function monitorHome(place: ContainerPlace, mode: "v1" | "v2" | "hybrid"): string {
  return mode === "v2" ? monitorCgroup(place) : podCgroup(place);
}

/**
 * The path of a slice: each dash in its name is one level, systemd.slice(5).
 * `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` is `/`.
 *
 * @throws InvalidArgumentError when it is no slice name
 */
export function expandSlice(slice: string): string {
  const name = slice.slice(0, -".slice".length);
  if (slice === "-.slice") return "/";
  const isSlice = slice.endsWith(".slice") && slice.length <= MAX_NAME && /^[\w:.\\@-]+$/.test(name);
  if (!isSlice || name.startsWith("-") || name.endsWith("-") || name.includes("--")) {
    throw new InvalidArgumentError(
      `cgroup parent ${JSON.stringify(slice)} is not a systemd slice, but cgroup_manager is "systemd": ` +
        `set both this daemon and the kubelet to the same cgroup driver`,
    );
  }
  const parts = name.split("-");
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join("-")}.slice`).join("");
}

function normalise(path: string): string {
  const parts = path.split("/").filter((part) => part !== "");
  const bad = parts.some((part) => part === "." || part === ".." || part.length > MAX_NAME || !isPlain(part));
  if (bad || path.length > MAX_PATH) {
    throw new InvalidArgumentError(`cgroup parent ${JSON.stringify(path)} is not a plain path`);
  }
  return `/${parts.join("/")}`;
}

/** No control characters: a newline would break every reader of /proc/self/cgroup. */
function isPlain(part: string): boolean {
  return [...part].every((char) => char >= " " && char !== "\x7f");
}

function join(parent: string, name: string): string {
  return parent === "/" ? `/${name}` : `${parent}/${name}`;
}

/** The kubelet gives systemd parents as a whole path or as the last name; the last name says all. */
function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
