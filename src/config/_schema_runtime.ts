import {
  absolute,
  absoluteOrEmpty,
  absolutePaths,
  assignments,
  between,
  capabilities,
  cpuList,
  devices,
  oneOf,
  pattern,
  podOrSlice,
  sysctls,
  ulimits,
} from "./_checks.ts";
import { integer, list, off, on, size, table, text } from "./option.ts";
import { LOG_LEVELS } from "../base/logger.ts";

/** `[crio.runtime]`, its two tables of tables left out. */
export const RUNTIME = {
  defaultRuntime: text("default_runtime", "crun", {
    reload: true,
    doc: "Runtime handler of pods that name none; one of the tables below crio.runtime.runtimes.",
  }),
  defaultUlimits: list("default_ulimits", [], {
    reload: true,
    check: ulimits,
    doc: "Limits of every container, as name=soft:hard. What is not listed is inherited from the daemon.",
  }),
  noPivot: off("no_pivot", { doc: "Whether runtimes use MS_MOVE instead of pivot_root." }),
  decryptionKeysPath: text("decryption_keys_path", "/etc/crio/keys/", {
    env: false,
    reload: true,
    doc: "Directory of private keys for encrypted images.",
  }),
  additionalArtifactStores: list("additional_artifact_stores", [], {
    env: false,
    check: absolutePaths,
    doc: "Read-only stores of OCI artifacts that are looked at first.",
  }),
  conmon: text("conmon", "", {
    deprecated: "use monitor_path of the runtime handler",
    doc: "Path of conmon. Empty: found in $PATH.",
  }),
  conmonCgroup: text("conmon_cgroup", "", {
    deprecated: "use monitor_cgroup of the runtime handler",
    check: podOrSlice,
    doc: "Cgroup of monitors: pod or a systemd slice.",
  }),
  conmonEnv: list("conmon_env", [], {
    deprecated: "use monitor_env of the runtime handler",
    check: assignments,
    doc: "Environment of monitors.",
  }),
  defaultEnv: list("default_env", [], {
    reload: true,
    check: assignments,
    doc: "Environment variables of every container.",
  }),
  minInjectedGomaxprocs: integer("min_injected_gomaxprocs", 0, {
    env: "CONTAINER_INJECT_GOMAXPROCS",
    check: between(0, 4096),
    doc: "Lowest GOMAXPROCS that is put into containers without a CPU limit; 0 puts none.",
  }),
  selinux: off("selinux", {
    deprecated: "the state of the host decides",
    doc: "Whether pods are kept apart by SELinux labels.",
  }),
  seccompProfile: text("seccomp_profile", "", {
    reload: true,
    doc: "Seccomp profile of RuntimeDefault. Empty or missing: the built-in one.",
  }),
  privilegedSeccompProfile: text("privileged_seccomp_profile", "", {
    reload: true,
    doc: "Seccomp profile of privileged containers. Empty: none.",
  }),
  apparmorProfile: text("apparmor_profile", "crio-default", {
    reload: true,
    doc: "AppArmor profile of containers that ask for the default; unconfined switches it off.",
  }),
  blockioConfigFile: text("blockio_config_file", "", { reload: true, doc: "File of block I/O classes." }),
  blockioReload: off("blockio_reload", {
    reload: true,
    doc: "Whether block devices are looked at anew for each container.",
  }),
  rdtConfigFile: text("rdt_config_file", "", {
    env: false,
    reload: true,
    doc: "File of resctrl classes. Their groups have to be there: they are not made.",
  }),
  cdiSpecDirs: list("cdi_spec_dirs", ["/etc/cdi", "/var/run/cdi"], {
    reload: true,
    doc: "Directories of CDI device specifications; the later one wins.",
  }),
  irqbalanceConfigFile: text("irqbalance_config_file", "/etc/sysconfig/irqbalance", {
    env: false,
    doc: "Configuration of the irqbalance service.",
  }),
  irqbalanceConfigRestoreFile: text("irqbalance_config_restore_file", "/etc/sysconfig/orig_irq_banned_cpus", {
    env: false,
    doc: "Where the mask of banned CPUs is kept; disable switches restoring off.",
  }),
  cgroupManager: text("cgroup_manager", "systemd", {
    check: oneOf("systemd", "cgroupfs"),
    doc: "Who makes cgroups: systemd or cgroupfs. Where it is not set and systemd does not run, cgroupfs is taken.",
  }),
  defaultCapabilities: list("default_capabilities", [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
  ], { reload: true, check: capabilities, doc: "Capabilities of containers that ask for nothing else." }),
  addInheritableCapabilities: off("add_inheritable_capabilities", {
    reload: true,
    doc: "Whether these are put into the inheritable set as well.",
  }),
  defaultSysctls: list("default_sysctls", [], {
    reload: true,
    check: sysctls,
    doc: "Sysctls of every pod, as key=value.",
  }),
  allowedDevices: list("allowed_devices", ["/dev/fuse", "/dev/net/tun"], {
    reload: true,
    doc: "Devices that a pod may ask for by annotation.",
  }),
  additionalDevices: list("additional_devices", [], {
    reload: true,
    check: devices,
    doc: "Devices of every container, as host-path[:container-path][:rwm].",
  }),
  deviceOwnershipFromSecurityContext: off("device_ownership_from_security_context", {
    reload: true,
    env: false,
    doc: "Whether devices belong to the user and group that the container runs as.",
  }),
  hooksDir: list("hooks_dir", ["/usr/share/containers/oci/hooks.d"], {
    reload: true,
    doc: "Directories of OCI hook definitions; the later one wins.",
  }),
  defaultMountsFile: text("default_mounts_file", "", {
    reload: true,
    doc:
      "File of mounts for every container, one host:container pair a line. Empty: /etc/containers/mounts.conf, else\n/usr/share/containers/mounts.conf.",
  }),
  pidsLimit: integer("pids_limit", -1, {
    reload: true,
    deprecated: "use the kubelet's podPidsLimit",
    doc: "Most processes of a container; 0 or less is no limit.",
  }),
  logFilter: text("log_filter", "", {
    reload: true,
    check: pattern,
    doc: "Regular expression: only messages that match it are logged.",
  }),
  logLevel: text("log_level", "info", {
    aliases: ["l"],
    reload: true,
    check: oneOf(...LOG_LEVELS),
    doc: `Least severe level that is logged: ${[...LOG_LEVELS].reverse().join(", ")}.`,
  }),
  logSizeMaxBytes: integer("log_size_max", -1, {
    deprecated: "use the kubelet's containerLogMaxSize",
    check: (value) => value < 0 || value >= 8192 ? undefined : "is neither negative nor at least 8192",
    doc: "Size in bytes at which a container's log is cut; negative: never.",
  }),
  logToJournald: off("log_to_journald", {
    flag: "log-journald",
    doc: "Whether container output goes to the journal as well.",
  }),
  containerExitsDir: text("container_exits_dir", "/var/run/crio/exits", {
    env: "CONTAINER_EXITS_DIR",
    check: absolute,
    doc: "Directory in which monitors leave exit codes.",
  }),
  containerAttachSocketDir: text("container_attach_socket_dir", "/var/run/crio", {
    env: "CONTAINER_ATTACH_SOCKET_DIR",
    check: absolute,
    doc: "Directory of the monitors' attach sockets.",
  }),
  bindMountPrefix: text("bind_mount_prefix", "", {
    check: absoluteOrEmpty,
    doc: "Put before the source of each bind mount, for a daemon in a container.",
  }),
  readOnly: off("read_only", {
    reload: true,
    doc: "Whether root filesystems are read-only, with tmpfs on /run, /tmp and /var/tmp.",
  }),
  uidMappings: text("uid_mappings", "", {
    deprecated: "use Kubernetes user namespaces",
    doc: "User ids of all pods, as container:host:length.",
  }),
  gidMappings: text("gid_mappings", "", {
    deprecated: "use Kubernetes user namespaces",
    doc: "Group ids of all pods, as container:host:length.",
  }),
  minimumMappableUid: integer("minimum_mappable_uid", -1, {
    deprecated: "use Kubernetes user namespaces",
    doc: "Lowest host user id that a mapping may name; -1 is any.",
  }),
  minimumMappableGid: integer("minimum_mappable_gid", -1, {
    deprecated: "use Kubernetes user namespaces",
    doc: "Lowest host group id that a mapping may name; -1 is any.",
  }),
  ctrStopTimeoutSeconds: integer("ctr_stop_timeout", 30, {
    built: false,
    env: "CONTAINER_STOP_TIMEOUT",
    doc: "Least time in seconds that a container gets to stop; below 30 is taken as 30.",
  }),
  dropInfraCtr: on("drop_infra_ctr", {
    built: false,
    doc: "Whether pods do without an infra process unless they share a PID namespace.",
  }),
  infraCtrCpuset: text("infra_ctr_cpuset", "", {
    reload: true,
    check: cpuList,
    doc: "CPUs of infra containers. Those of the daemon and its children are set by its systemd unit.",
  }),
  sharedCpuset: text("shared_cpuset", "", {
    check: cpuList,
    doc: "CPUs that guaranteed containers may share by annotation.",
  }),
  namespacesDir: text("namespaces_dir", "/var/run", {
    check: absolute,
    doc: "Directory below which the namespaces of pods are pinned.",
  }),
  pinnsPath: text("pinns_path", "", { built: false, doc: "Accepted for compatibility: no helper program is used." }),
  absentMountSourcesToReject: list("absent_mount_sources_to_reject", [], {
    reload: true,
    check: absolutePaths,
    doc: "Bind mounts from these paths fail when the source is missing, instead of getting a fresh directory.",
  }),
  enableCriuSupport: on("enable_criu_support", {
    deprecated: "use crio.checkpoint_restore",
    doc: "Whether checkpoint and restore are offered.",
  }),
  enablePodEvents: off("enable_pod_events", {
    env: "ENABLE_POD_EVENTS",
    doc: "Whether GetContainerEvents gives events.",
  }),
  hostnetworkDisableSelinux: on("hostnetwork_disable_selinux", {
    doc: "Whether pods in the node's network run without SELinux separation.",
  }),
  disableHostportMapping: off("disable_hostport_mapping", {
    env: "DISABLE_HOSTPORT_MAPPING",
    doc: "Whether host ports of pods are left to the network plugin.",
  }),
  timezone: text("timezone", "", {
    reload: true,
    aliases: ["tz"],
    env: "CONTAINER_TIME_ZONE",
    doc: "Time zone of containers: a zone's name, or Local for that of the node.",
  }),
};

/** `[crio.runtime.runtimes.<name>]`. */
export const HANDLER = {
  runtimePath: text("runtime_path", "", {
    flag: false,
    reload: true,
    doc: "Path of the program. Empty: found in $PATH.",
  }),
  runtimeType: text("runtime_type", "oci", {
    flag: false,
    reload: true,
    check: oneOf("", "oci", "vm", "pod"),
    doc: "oci, vm (a containerd shim) or pod (conmon-rs). Only oci works in this version.",
  }),
  runtimeRoot: text("runtime_root", "", {
    flag: false,
    reload: true,
    doc: "Directory of the runtime's state. Empty: /run/<name>.",
  }),
  runtimeConfigPath: text("runtime_config_path", "", {
    flag: false,
    reload: true,
    built: false,
    doc: "Configuration file of the runtime; for type vm.",
  }),
  inheritDefaultRuntime: off("inherit_default_runtime", {
    flag: false,
    reload: true,
    doc: "Takes path, type, root and configuration path from the default handler.",
  }),
  privilegedWithoutHostDevices: off("privileged_without_host_devices", {
    flag: false,
    reload: true,
    doc: "Whether privileged containers do without the node's devices.",
  }),
  allowedAnnotations: list("allowed_annotations", [], {
    flag: false,
    reload: true,
    doc: "Annotations that pods of this handler may carry; others are removed.",
  }),
  monitorPath: text("monitor_path", "", { flag: false, reload: true, doc: "Path of conmon. Empty: found in $PATH." }),
  monitorCgroup: text("monitor_cgroup", "", {
    flag: false,
    reload: true,
    check: podOrSlice,
    doc: "Cgroup of monitors: pod or a systemd slice. Empty: system.slice with systemd, pod without.",
  }),
  monitorEnv: list("monitor_env", [], {
    flag: false,
    reload: true,
    check: assignments,
    doc: "Environment of monitors.",
  }),
  monitorExecCgroup: text("monitor_exec_cgroup", "", {
    built: false,
    flag: false,
    reload: true,
    check: oneOf("", "container"),
    doc: "Cgroup of exec monitors: empty for that of the monitor, or container.",
  }),
  platformRuntimePaths: table("platform_runtime_paths", {}, {
    reload: true,
    doc: "Programs for other platforms, os/arch = path.",
  }),
  runtimePullImage: off("runtime_pull_image", {
    flag: false,
    reload: true,
    built: false,
    doc: "Whether the runtime pulls images itself; for type vm.",
  }),
  containerMinMemoryBytes: size("container_min_memory", "", {
    flag: false,
    reload: true,
    doc: "Smallest memory limit of a container. Empty: 500 KiB for crun, else 12 MiB.",
  }),
  noSyncLog: off("no_sync_log", {
    flag: false,
    reload: true,
    doc: "Whether logs are left unsynced at rotation and exit; faster, less safe.",
  }),
  defaultAnnotations: table("default_annotations", {}, {
    reload: true,
    doc: "Annotations of every pod of this handler; the pod's own win.",
  }),
  streamWebsockets: off("stream_websockets", {
    flag: false,
    reload: true,
    built: false,
    doc: "Whether the monitor serves exec and attach itself; for type pod.",
  }),
  execCpuAffinity: text("exec_cpu_affinity", "", {
    flag: false,
    reload: true,
    check: oneOf("", "first"),
    doc: "CPU of exec processes: empty for all, or first.",
  }),
  seccompProfile: text("seccomp_profile", "", {
    flag: false,
    reload: true,
    doc: "Seccomp profile of RuntimeDefault for this handler.",
  }),
  containerCreateTimeoutSeconds: integer("container_create_timeout", 240, {
    flag: false,
    reload: true,
    doc: "Seconds that the runtime may take to create a container; below 30 is taken as 30.",
  }),
};
