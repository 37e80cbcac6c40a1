/**
 * What this machine can do, looked at once at start. Plain data; each user decides what follows from it.
 */
import { canSetMountAttributes } from "./mount_attributes.ts";
import { resolves } from "./exists.ts";

/** Where the cgroup controllers are. */
export interface CgroupLayout {
  /** `hybrid`: v1 controllers, and a v2 hierarchy beside them. */
  readonly mode: "v2" | "v1" | "hybrid";
  /** v1 controller name -> mount point; named hierarchies as `name=systemd`. Empty on v2. */
  readonly v1: Readonly<Record<string, string>>;
  /** Mount point of the v2 hierarchy; absent on pure v1. */
  readonly unified?: string;
  /** Controllers that the v2 hierarchy holds. */
  readonly unifiedControllers: readonly string[];
}

export interface Host {
  readonly cgroup: CgroupLayout;
  /** Whether the kernel counts, and can limit, the swap of a cgroup. */
  readonly swapAccounting: boolean;
  /** systemd is PID 1. */
  readonly systemd: boolean;
  /** Names such as `CAP_SYS_ADMIN`. */
  readonly capabilities: { readonly effective: readonly string[]; readonly bounding: readonly string[] };
  readonly apparmor: boolean;
  readonly selinux: "absent" | "permissive" | "enforcing";
  readonly seccomp: boolean;
  /** Absolute paths of the programs, where they are installed. */
  readonly programs: { readonly nft?: string; readonly iptables?: string };
  readonly overlay: boolean;
  /** mount_setattr(2) with an id map, and the same for overlay lower layers (5.19). */
  readonly idMappedMounts: boolean;
  readonly idMappedOverlay: boolean;
  /** Recursive read-only mounts (mount_setattr(2) with AT_RECURSIVE, Linux 5.12). */
  readonly recursiveReadOnly: boolean;
  readonly userNamespaces: boolean;
  readonly kernel: { readonly release: string; readonly major: number; readonly minor: number };
  /** Our own score; children without CAP_SYS_RESOURCE cannot go below it. */
  readonly oomScoreAdj: number;
}

/** Names of capabilities in bit order, linux/capability.h of Linux 6.18. */
const CAPABILITIES = [
  ..."CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE".split(" "),
  ..."NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT".split(" "),
  ..."SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE".split(" "),
  ..."AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ".split(" "),
  ..."PERFMON BPF CHECKPOINT_RESTORE".split(" "),
].map((name) => `CAP_${name}`);

/** Controllers that mountinfo lists among a v1 mount's options, beside options that are none. */
const NOT_CONTROLLERS = new Set(["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "release_agent"]);

const PROGRAM_FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/**
 * Looks at this machine. Reads some twenty small files and starts nothing.
 *
 * @param options.root where `/` is; for tests
 */
export async function inspectHost(options: { readonly root?: string } = {}): Promise<Host> {
  const root = options.root ?? "";
  const file = (path: string): Promise<string> => readOrEmpty(root + path);
  const [mounts, status, release, filesystems, enforce, label, profile, oom] = await Promise.all([
    file("/proc/self/mountinfo"),
    file("/proc/self/status"),
    file("/proc/sys/kernel/osrelease"),
    file("/proc/filesystems"),
    file("/sys/fs/selinux/enforce"),
    file("/proc/self/attr/current"),
    file("/sys/module/apparmor/parameters/enabled"),
    file("/proc/self/oom_score_adj"),
  ]);
  const kernel = parseKernelRelease(release);
  const cgroup = await cgroupLayout(mounts, file);
  const setsAttributes = isAtLeast(kernel, 5, { minor: 12 }) && canSetMountAttributes();
  return {
    cgroup,
    swapAccounting: await resolves(root + swapMark(cgroup)),
    systemd: await resolves(`${root}/run/systemd/system`) && await isSystemd(file),
    capabilities: {
      effective: parseCapabilities(status, "CapEff"),
      bounding: parseCapabilities(status, "CapBnd"),
    },
    apparmor: profile.trim() === "Y",
    selinux: selinuxMode(enforce, label),
    seccomp: /^Seccomp:/m.test(status),
    programs: await findPrograms(root),
    overlay: /^nodev\toverlay$/m.test(filesystems) || await hasModule({ root, release: kernel.release }),
    idMappedMounts: setsAttributes,
    idMappedOverlay: setsAttributes && isAtLeast(kernel, 5, { minor: 19 }),
    recursiveReadOnly: setsAttributes,
    userNamespaces: await resolves(`${root}/proc/self/ns/user`),
    kernel,
    oomScoreAdj: Number(oom.trim()) || 0,
  };
}

/** Without a policy every process is called `kernel`, and the kernel refuses all other labels: that is no SELinux. */
function selinuxMode(enforce: string, label: string): Host["selinux"] {
  if (enforce === "" || label.replace(/[\0\n]+$/, "") === "kernel") return "absent";
  return enforce.trim() === "1" ? "enforcing" : "permissive";
}

/** A file that is there when swap is counted: v1 has a switch for it, v2 has it in each kernel that can swap. */
function swapMark({ mode, v1 }: CgroupLayout): string {
  if (mode === "v2") return "/proc/swaps";
  return v1["memory"] === undefined ? "/nonexistent" : `${v1["memory"]}/memory.memsw.limit_in_bytes`;
}

/** The cgroup hierarchies among mounts (`/proc/self/mountinfo`), the first mount of each. */
export async function cgroupLayout(
  mountinfo: string,
  readFile: (path: string) => Promise<string>,
): Promise<CgroupLayout> {
  const v1: Record<string, string> = {};
  let unified: string | undefined;
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const mountPoint = unescapeOctal(left.split(" ")[4] ?? "");
    const [type, , superOptions = ""] = right.split(" ");
    if (type === "cgroup2") unified ??= mountPoint;
    if (type !== "cgroup") continue;
    for (const option of superOptions.split(",")) {
      if (option.startsWith("name=") || !(NOT_CONTROLLERS.has(option) || option.includes("="))) {
        v1[option] ??= mountPoint;
      }
    }
  }
  const hasV1 = Object.keys(v1).some((name) => !name.startsWith("name="));
  const controllers = unified === undefined ? "" : await readFile(`${unified}/cgroup.controllers`);
  return {
    mode: unified === undefined ? "v1" : hasV1 ? "hybrid" : "v2",
    v1: hasV1 || unified === undefined ? v1 : {},
    ...(unified === undefined ? {} : { unified }),
    unifiedControllers: controllers.split(/\s+/).filter((name) => name !== ""),
  };
}

/** Names of the capabilities in one line (`CapEff`, `CapBnd` …) of `/proc/<pid>/status`. */
export function parseCapabilities(status: string, field: string): string[] {
  const hex = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1];
  if (hex === undefined) return [];
  const bits = BigInt(`0x${hex}`);
  return CAPABILITIES.filter((_, bit) => (bits >> BigInt(bit) & 1n) === 1n);
}

/** Version numbers of a kernel release such as `6.1.0-18-amd64`; 0.0 where there are none. */
export function parseKernelRelease(release: string): Host["kernel"] {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return { release: release.trim(), major: Number(match?.[1] ?? 0), minor: Number(match?.[2] ?? 0) };
}

function isAtLeast(kernel: Host["kernel"], major: number, { minor }: { readonly minor: number }): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

/** A `/run/systemd/system` can be left by an image; PID 1's name decides where it can be read. */
async function isSystemd(file: (path: string) => Promise<string>): Promise<boolean> {
  const name = (await file("/proc/1/comm")).trim();
  return name === "" || name === "systemd" || name === "init";
}

async function hasModule({ root, release }: { readonly root: string; readonly release: string }): Promise<boolean> {
  const [built, loadable] = await Promise.all(
    ["modules.builtin", "modules.dep"].map((name) => readOrEmpty(`${root}/lib/modules/${release}/${name}`)),
  );
  return `${built}\n${loadable}`.includes("/overlay.ko");
}

/** Absolute path of an installed program, in the places where a daemon's children look; undefined where there is none. */
export async function findProgram(name: string, root = ""): Promise<string | undefined> {
  for (const folder of PROGRAM_FOLDERS) if (await resolves(`${root}${folder}/${name}`)) return `${folder}/${name}`;
  return undefined;
}

async function findPrograms(root: string): Promise<Host["programs"]> {
  const [nft, iptables] = await Promise.all([findProgram("nft", root), findProgram("iptables", root)]);
  return { ...(nft === undefined ? {} : { nft }), ...(iptables === undefined ? {} : { iptables }) };
}

/** mountinfo writes space, tab, newline and backslash as `\040` and so on. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/** Files that are not there, or that this kernel refuses to read, count as empty. */
async function readOrEmpty(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return "";
  }
}
