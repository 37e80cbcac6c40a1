/**
 * The annotations of pods and containers that mean something to this daemon, in one table. Whoever needs the value of one calls
 * {@link annotationValue} with annotations that have passed `AnnotationGate`; nobody else spells these names.
 *
 * @module
 */

/** Annotations by key. */
export type Annotations = Readonly<Record<string, string>>;

interface AnnotationNames {
  readonly key: string;
  /** The older name of the same thing; the newer one wins. */
  readonly old?: string;
  /** Anybody may set it, whatever `allowed_annotations` says. */
  readonly free?: true;
}

const OLD = "io.kubernetes.cri-o.";

const NAMES = {
  cgroup2MountHierarchyRw: { key: "cgroup2-mount-hierarchy-rw.crio.io", old: `${OLD}cgroup2-mount-hierarchy-rw` },
  cpuCStates: { key: "cpu-c-states.crio.io" },
  cpuFreqGovernor: { key: "cpu-freq-governor.crio.io" },
  cpuLoadBalancing: { key: "cpu-load-balancing.crio.io" },
  cpuQuota: { key: "cpu-quota.crio.io" },
  cpuShared: { key: "cpu-shared.crio.io" },
  devices: { key: "devices.crio.io", old: `${OLD}Devices` },
  disableFips: { key: "disable-fips.crio.io", old: `${OLD}DisableFIPS` },
  irqLoadBalancing: { key: "irq-load-balancing.crio.io" },
  linkLogs: { key: "link-logs.crio.io", old: `${OLD}LinkLogs` },
  platformRuntimePath: { key: "platform-runtime-path.crio.io", old: `${OLD}PlatformRuntimePath` },
  podLinuxOverhead: { key: "pod-linux-overhead.crio.io", old: `${OLD}PodLinuxOverhead` },
  podLinuxResources: { key: "pod-linux-resources.crio.io", old: `${OLD}PodLinuxResources` },
  rdtClass: { key: "io.kubernetes.cri.rdt-class" },
  seccompNotifierAction: { key: "seccomp-notifier-action.crio.io", old: `${OLD}seccompNotifierAction` },
  seccompProfile: { key: "seccomp-profile.crio.io", old: "seccomp-profile.kubernetes.cri-o.io" },
  shmSize: { key: "shm-size.crio.io", old: `${OLD}ShmSize` },
  skipGomaxprocs: { key: "skip-gomaxprocs.crio.io", free: true },
  spoofed: { key: "spoofed.crio.io", old: `${OLD}Spoofed` },
  stopSignal: { key: "org.opencontainers.image.stopSignal" },
  traceSyscall: { key: "io.containers.trace-syscall" },
  trySkipVolumeSelinuxLabel: { key: "try-skip-volume-selinux-label.crio.io", old: `${OLD}TrySkipVolumeSELinuxLabel` },
  umask: { key: "umask.crio.io", old: `${OLD}umask` },
  unifiedCgroup: { key: "unified-cgroup.crio.io", old: `${OLD}UnifiedCgroup` },
  usernsMode: { key: "userns-mode.crio.io", old: `${OLD}userns-mode` },
} as const satisfies Readonly<Record<string, AnnotationNames>>;

/** What an annotation means, apart from how it is written. */
export type AnnotationName = keyof typeof NAMES;

const TABLE: Readonly<Record<AnnotationName, AnnotationNames>> = NAMES;

/** Read by runc and crun themselves; a name that ends with a dot stands for all that begin with it. */
const RUNTIME_KEYS = [
  "bundle",
  "io.kubernetes.cri.container-type",
  "module.wasm.image/variant",
  "org.criu.config",
  "org.systemd.property.",
  "run.oci.",
];

/** Every name that `allowed_annotations` may list (FEATURES 4.1): none of these counts unless it is listed. */
export const GATED_ANNOTATIONS: readonly string[] = [
  ...Object.values(TABLE).filter(({ free }) => free === undefined).flatMap(keysOf),
  ...RUNTIME_KEYS,
].sort();

/**
 * The value of an annotation, by its newer name or else by its older one.
 *
 * @param annotations of a pod, or of a container with its pod's below, as `AnnotationGate` gives them
 * @param options.container asks for the form `<name>/<container>` (or, as older pods write it, `<name>.<container>`) only;
 *   `POD` is the pod's part of annotations that have one. Absent: asks for the plain name only.
 */
export function annotationValue(
  annotations: Annotations,
  name: AnnotationName,
  options: { readonly container?: string } = {},
): string | undefined {
  const { container } = options;
  for (const key of keysOf(TABLE[name])) {
    const forms = container === undefined ? [key] : [`${key}/${container}`, `${key}.${container}`];
    for (const form of forms) if (Object.hasOwn(annotations, form)) return annotations[form];
  }
  return undefined;
}

/** Whether a key is a name of the list, or that name's form for one container. */
export function namesKey(name: string, key: string): boolean {
  if (!key.startsWith(name)) return false;
  const rest = key.slice(name.length);
  return rest === "" || name.endsWith(".") || rest.startsWith("/") || rest.startsWith(".");
}

/** All ways to write what this key stands for, itself included. */
export function spellings(key: string): readonly string[] {
  for (const names of Object.values(TABLE)) {
    const keys = keysOf(names);
    const written = keys.find((name) => namesKey(name, key));
    if (written === undefined) continue;
    const container = key.slice(written.length + 1);
    return container === "" ? keys : keys.flatMap((name) => [`${name}/${container}`, `${name}.${container}`]);
  }
  return [key];
}

/** Whether a key belongs to this daemon's own notes in a runtime configuration, which no pod may write. */
export function isReservedKey(key: string): boolean {
  return key.startsWith(OLD) && !GATED_ANNOTATIONS.some((name) => namesKey(name, key));
}

function keysOf({ key, old }: AnnotationNames): readonly string[] {
  return old === undefined ? [key] : [key, old];
}
