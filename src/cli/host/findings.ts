import type { HostFacts } from "./facts.ts";

/** `missing`: pods need it. `note`: something works less well, or not at all for pods that ask for it. */
export type Level = "ok" | "note" | "missing";

/** One line of `crio check --host`. */
export interface Finding {
  readonly subject: string;
  readonly level: Level;
  readonly detail: string;
  /** What to do about it; absent for `ok`. */
  readonly remedy?: string;
}

type Rule = (facts: HostFacts) => Finding | readonly Finding[];

const MIN_KERNEL = [5, 11] as const;
const MIN_GLIBC = [2, 34] as const;
/** Without these nothing of a pod can be made. */
const NEEDED_CAPABILITIES = [
  ..."CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP SYS_ADMIN SYS_CHROOT SYS_PTRACE".split(" "),
  ..."NET_ADMIN NET_BIND_SERVICE MKNOD SETFCAP".split(" "),
].map((name) => `CAP_${name}`);
const NEEDED_CONTROLLERS = ["cpu", "memory", "pids"];
const USEFUL_CONTROLLERS = ["cpuset", "io", "hugetlb"];
/** Overlay cannot keep its upper directory there. */
const UNFIT_FILESYSTEMS = ["overlay", "nfs", "nfs4", "cifs", "9p", "fuse", "vfat", "squashfs", "iso9660", "erofs"];
const MIN_OPEN_FILES = 65_536;
const MIN_FREE_SHARE = 0.1;
/** Before this program was written. */
const MIN_YEAR = 2026;

/** All rules, in the order in which they are told. */
const RULES: readonly Rule[] = [
  kernel,
  glibc,
  capabilities,
  cgroups,
  cgroupManager,
  overlay,
  store,
  configuration,
  programs,
  networks,
  hostPorts,
  seccomp,
  mandatoryAccess,
  policy,
  forwarding,
  kubeletSysctls,
  inotify,
  openFiles,
  userNamespaces,
  mountPropagation,
  swap,
  clock,
  decoders,
  checkpoints,
];

/** What this node has and lacks, one line each. */
export function findings(facts: HostFacts): Finding[] {
  return RULES.flatMap((rule) => rule(facts));
}

function ok(subject: string, detail: string): Finding {
  return { subject, level: "ok", detail };
}

function note(subject: string, detail: string, remedy: string): Finding {
  return { subject, level: "note", detail, remedy };
}

function missing(subject: string, detail: string, remedy: string): Finding {
  return { subject, level: "missing", detail, remedy };
}

function isAtLeast(
  [major, minor]: readonly [number, number],
  [needMajor, needMinor]: readonly [number, number],
): boolean {
  return major > needMajor || (major === needMajor && minor >= needMinor);
}

function kernel({ host }: HostFacts): Finding {
  const { release, major, minor } = host.kernel;
  if (!isAtLeast([major, minor], MIN_KERNEL)) {
    return missing("kernel", `Linux ${release}`, `upgrade to ${MIN_KERNEL.join(".")} or newer`);
  }
  const lacking = [
    ...(host.recursiveReadOnly ? [] : ["recursive read-only mounts (5.12)"]),
    ...(host.idMappedOverlay ? [] : ["id-mapped overlay mounts (5.19)"]),
  ];
  if (lacking.length === 0) return ok("kernel", `Linux ${release}`);
  const detail = `Linux ${release} without ${lacking.join(" and ")}`;
  return note("kernel", detail, "upgrade; user namespaces copy files meanwhile, and such mounts are refused");
}

function glibc({ glibc: version }: HostFacts): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (version === "") return note("glibc", "version not known (no getconf)", "nothing, as this program runs");
  if (isAtLeast([major, minor], MIN_GLIBC)) return ok("glibc", version);
  return missing("glibc", version, `use a distribution with glibc ${MIN_GLIBC.join(".")} or newer`);
}

function capabilities({ host }: HostFacts): Finding {
  const lacking = NEEDED_CAPABILITIES.filter((name) => !host.capabilities.effective.includes(name));
  if (lacking.length > 0) {
    return missing(
      "capabilities",
      `without ${lacking.join(", ")}`,
      "run crio as root, in a container with --privileged",
    );
  }
  if (host.capabilities.effective.includes("CAP_SYS_RESOURCE")) return ok("capabilities", "all that are needed");
  const detail = "without CAP_SYS_RESOURCE: oom_score_adj and limits cannot be better than crio's own";
  return note("capabilities", detail, "give it to crio's service");
}

function cgroups({ host }: HostFacts): Finding {
  const { mode, v1, unifiedControllers } = host.cgroup;
  const there = new Set([...unifiedControllers, ...Object.keys(v1)].map((name) => name === "blkio" ? "io" : name));
  const lacking = NEEDED_CONTROLLERS.filter((name) => !there.has(name));
  if (lacking.length > 0) {
    const remedy = "mount cgroup2 at /sys/fs/cgroup with them (boot option cgroup_enable=memory on some boards)";
    return missing("cgroups", `${mode}, without the controllers ${lacking.join(", ")}`, remedy);
  }
  const useful = USEFUL_CONTROLLERS.filter((name) => !there.has(name));
  if (mode !== "v2") {
    return note("cgroups", `${mode}`, "boot with systemd.unified_cgroup_hierarchy=1: kubelets stop to support v1");
  }
  if (useful.length === 0) return ok("cgroups", mode);
  return note("cgroups", `${mode}, without ${useful.join(", ")}`, "enable them where pods have such limits");
}

function cgroupManager({ host, config }: HostFacts): Finding {
  const manager = config?.runtime.cgroupManager ?? (host.systemd ? "systemd" : "cgroupfs");
  if (manager === "systemd" && !host.systemd) {
    return missing("cgroup manager", "systemd is configured, and does not run", 'set cgroup_manager = "cgroupfs"');
  }
  if (manager === "cgroupfs" && host.systemd) {
    return note(
      "cgroup manager",
      "cgroupfs beside systemd",
      'set cgroup_manager = "systemd": two would fight for cgroups',
    );
  }
  return ok("cgroup manager", manager);
}

function overlay({ host }: HostFacts): Finding {
  return host.overlay ? ok("overlayfs", "available") : missing("overlayfs", "not in this kernel", "modprobe overlay");
}

function store({ store, config }: HostFacts): Finding | readonly Finding[] {
  if (store === undefined || config === undefined) return [];
  const { filesystem, stats } = store;
  const root = config.crio.root;
  if (UNFIT_FILESYSTEMS.some((name) => filesystem === name || filesystem.startsWith(`${name}.`))) {
    return missing("store", `${root} is on ${filesystem}`, "mount ext4, xfs or btrfs there, or set root");
  }
  const freeShare = Math.min(
    stats.availableBytes / Math.max(1, stats.totalBytes),
    stats.totalInodes === 0 ? 1 : stats.freeInodes / stats.totalInodes,
  );
  const gib = (stats.availableBytes / 2 ** 30).toFixed(1);
  const detail = `${root} on ${filesystem}, ${gib} GiB free`;
  if (freeShare >= MIN_FREE_SHARE) return ok("store", detail);
  return note("store", `${detail}: less than a tenth`, "free some: the kubelet evicts pods when little is left");
}

function configuration({ config, configProblem, warnings }: HostFacts): Finding | readonly Finding[] {
  if (config === undefined) {
    return missing("configuration", configProblem, "crio does not start before this is put right");
  }
  if (warnings.length === 0) return ok("configuration", "usable");
  return warnings.map((warning) => note("configuration", warning, "see crio.conf(5)"));
}

function programs({ programs }: HostFacts): readonly Finding[] {
  return programs.map(({ role, path, version }) => {
    if (version !== undefined) return ok(role, `${path}: ${version}`);
    return missing(role, `${path} cannot be run`, "install it for this machine's architecture, or set its path");
  });
}

function networks({ networks, config }: HostFacts): Finding | readonly Finding[] {
  if (config === undefined) return [];
  const { names, problems, missingPlugins } = networks;
  const { networkDir, pluginDirs } = config.network;
  const wrong = problems.map((problem) => note("networks", problem, "put the file right, or remove it"));
  if (names.length === 0) {
    const remedy =
      "install a network add-on in the cluster, or a .conflist there: only host-network pods start till then";
    return [note("networks", `none in ${networkDir}`, remedy), ...wrong];
  }
  if (missingPlugins.length === 0) return [ok("networks", names.join(", ")), ...wrong];
  const detail = `the plugins ${missingPlugins.join(", ")} are not in ${pluginDirs.join(", ")}`;
  return [
    missing("networks", detail, "install them (Debian: containernetworking-plugins), or set plugin_dirs"),
    ...wrong,
  ];
}

function hostPorts({ host, config }: HostFacts): Finding {
  const { nft, iptables } = host.programs;
  const path = nft ?? iptables;
  if (path !== undefined) return ok("host ports", path);
  if (config?.runtime.disableHostportMapping === true) return ok("host ports", "switched off");
  return note(
    "host ports",
    "neither nft nor iptables",
    "install nftables: pods with host ports are refused, kube-proxy fails",
  );
}

function seccomp({ host }: HostFacts): Finding {
  if (host.seccomp) return ok("seccomp", "available");
  return missing("seccomp", "not in this kernel", "use a kernel with CONFIG_SECCOMP_FILTER");
}

function mandatoryAccess({ host, apparmorParser }: HostFacts): Finding {
  if (host.apparmor && !apparmorParser) {
    return note(
      "AppArmor",
      "enabled, without apparmor_parser",
      "install the package apparmor: profiles cannot be loaded",
    );
  }
  if (host.apparmor) return ok("AppArmor", "enabled");
  if (host.selinux !== "absent") return ok("SELinux", host.selinux);
  return ok("AppArmor, SELinux", "neither is enabled");
}

function policy({ policy: { path, exists } }: HostFacts): Finding {
  if (exists) return ok("signature policy", path);
  const remedy = `install it (Debian: golang-github-containers-common), or copy conf/policy.json to ${path}`;
  return missing("signature policy", `${path} is not there, and no image is accepted without`, remedy);
}

function forwarding({ sysctls }: HostFacts): readonly Finding[] {
  const found: Finding[] = [];
  if (sysctls["net/ipv4/ip_forward"] === "1") found.push(ok("forwarding", "IPv4"));
  else {
    const remedy =
      "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d: kubeadm wants it, though some networks set it";
    found.push(note("forwarding", "net.ipv4.ip_forward is not 1", remedy));
  }
  if (sysctls["net/ipv6/conf/all/forwarding"] === "0") {
    found.push(note("forwarding", "IPv6 is off", "sysctl -w net.ipv6.conf.all.forwarding=1 for dual-stack clusters"));
  }
  if (sysctls["net/bridge/bridge-nf-call-iptables"] === undefined) {
    found.push(
      note("br_netfilter", "not loaded", "modprobe br_netfilter, which some networks and kube-proxy modes need"),
    );
  }
  return found;
}

function kubeletSysctls({ sysctls }: HostFacts): Finding {
  const wanted = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
  };
  const other = Object.entries(wanted).filter(([name, value]) =>
    sysctls[name] !== undefined && sysctls[name] !== value
  );
  if (other.length === 0) return ok("kubelet sysctls", "as kubelets want them");
  const settings = other.map(([name, value]) => `${name.replaceAll("/", ".")}=${value}`);
  const remedy = "a kubelet sets them itself, unless protectKernelDefaults is on";
  return note("kubelet sysctls", `not ${settings.join(" ")}`, remedy);
}

function inotify({ sysctls }: HostFacts): Finding {
  const instances = Number(sysctls["fs/inotify/max_user_instances"] ?? 0);
  const watches = Number(sysctls["fs/inotify/max_user_watches"] ?? 0);
  const detail = `${instances} instances, ${watches} watches for each user`;
  if (instances >= 512 && watches >= 65_536) return ok("inotify", detail);
  return note("inotify", detail, "sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288");
}

function openFiles({ openFiles: limit }: HostFacts): Finding {
  if (limit >= MIN_OPEN_FILES) return ok("open files", String(limit));
  return note("open files", `${limit} for this shell`, "LimitNOFILE=1048576 in the unit; crio.service has it");
}

function userNamespaces({ host, sysctls }: HostFacts): Finding {
  const count = Number(sysctls["user/max_user_namespaces"] ?? 0);
  if (host.userNamespaces && count > 0) return ok("user namespaces", `${count} at most`);
  return note(
    "user namespaces",
    "none",
    "sysctl -w user.max_user_namespaces=65536: pods with hostUsers: false are refused",
  );
}

function mountPropagation({ rootIsShared }: HostFacts): Finding {
  if (rootIsShared) return ok("mount propagation", "/ is shared");
  return note(
    "mount propagation",
    "/ is private",
    "mount --make-rshared /: volumes with Bidirectional mounts are refused",
  );
}

function swap({ swap }: HostFacts): Finding {
  if (!swap) return ok("swap", "off");
  return note("swap", "on", "swapoff -a, or failSwapOn: false for the kubelet");
}

function clock({ clock: { synchronized, year } }: HostFacts): Finding {
  if (year < MIN_YEAR) {
    return missing("clock", `it says ${year}`, "set it: certificates of registries are not valid yet");
  }
  if (synchronized === false) return note("clock", "not synchronized", "run chrony or systemd-timesyncd");
  return ok("clock", synchronized === true ? "synchronized" : "synchronization not known");
}

function decoders({ isal, zstd }: HostFacts): Finding {
  if (isal && zstd) return ok("decompression", "ISA-L and libzstd");
  const lacking = [...(isal ? [] : ["libisal2 for gzip"]), ...(zstd ? [] : ["libzstd1 for zstd"])];
  return note("decompression", "slower than it could be", `install ${lacking.join(" and ")}: pulls take half the time`);
}

function checkpoints({ criu, config }: HostFacts): Finding | readonly Finding[] {
  if (criu) return ok("checkpoints", "criu is there");
  if (config?.checkpointRestore.containerLevelEnabled === "none") return ok("checkpoints", "switched off");
  return note("checkpoints", "no criu", "install criu where containers are to be checkpointed");
}
