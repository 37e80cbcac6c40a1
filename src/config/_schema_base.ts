import { absolute, absoluteOrEmpty, annotationNames, between, oneOf, portText } from "./_checks.ts";
import { checkDriver, storageOptionProblem } from "./storage_options.ts";
import { duration, integer, list, off, on, text } from "./option.ts";

/** `[crio]`: storage roots, log directory and the files that tell a reboot or an upgrade. */
export const CRIO = {
  root: text("root", "/var/lib/containers/storage", {
    aliases: ["r"],
    check: absolute,
    doc: "Directory of images, layers and container data. Where it is not set, storage.conf decides.",
  }),
  runRoot: text("runroot", "/run/containers/storage", {
    check: absolute,
    doc: "Directory of volatile storage state; must not survive a reboot.",
  }),
  imageStore: text("imagestore", "", {
    check: absoluteOrEmpty,
    doc: "A separate directory for the images that are pulled from now on; those below root stay usable.",
  }),
  storageDriver: text("storage_driver", "overlay", {
    aliases: ["s"],
    check: checkDriver,
    doc: "Graph driver of the store. Only overlay exists here.",
  }),
  storageOptions: list("storage_option", [], {
    flag: "storage-opt",
    env: "CONTAINER_STORAGE_OPT",
    check: storageOptionProblem,
    doc:
      "Options of the graph driver, such as overlay.mountopt=nodev. Those of storage.conf and of each drop-in file\nare merged; of two with the same name the later one counts.",
  }),
  logDir: text("log_dir", "/var/log/crio/pods", {
    reload: true,
    check: absolute,
    doc: "Where container logs go when the kubelet names no directory.",
  }),
  versionFile: text("version_file", "/var/run/crio/version", {
    doc: "Marker on a tmpfs: when it is missing at start, the node has rebooted.",
  }),
  versionFilePersist: text("version_file_persist", "", {
    doc:
      "Marker on a disk: when its minor version differs at start, this program was upgraded. Empty: images are never\nwiped for that.",
  }),
  cleanShutdownFile: text("clean_shutdown_file", "/var/lib/crio/clean.shutdown", {
    doc: "Written after the store was synced at exit; when it is missing at start, the shutdown was not clean.",
  }),
  internalWipe: on("internal_wipe", {
    deprecated: "wiping at start is always internal",
    doc: "Whether containers and images are wiped at start after a reboot or an upgrade.",
  }),
  internalRepair: on("internal_repair", {
    doc: "Whether the store is checked and repaired at start after a shutdown that was not clean.",
  }),
};

/** `[crio.api]`: the CRI socket and the streaming server. */
export const API = {
  listen: text("listen", "/var/run/crio/crio.sock", { check: absolute, doc: "Path of the CRI socket." }),
  streamAddress: text("stream_address", "127.0.0.1", {
    doc: "Address that the server for exec, attach and port-forward listens on.",
  }),
  streamPort: text("stream_port", "0", { check: portText, doc: "Port of the streaming server; 0 takes a free one." }),
  streamEnableTls: off("stream_enable_tls", {
    env: "CONTAINER_ENABLE_TLS",
    doc: "Whether the streaming server speaks TLS.",
  }),
  streamTlsCert: text("stream_tls_cert", "", {
    env: "CONTAINER_TLS_CERT",
    doc: "Certificate file of the streaming server; read again when it changes.",
  }),
  streamTlsKey: text("stream_tls_key", "", {
    env: "CONTAINER_TLS_KEY",
    doc: "Key file of the streaming server; read again when it changes.",
  }),
  streamTlsCa: text("stream_tls_ca", "", {
    env: "CONTAINER_TLS_CA",
    doc: "CA file: when set, clients of the streaming server need a certificate signed by it.",
  }),
  streamIdleTimeoutMs: duration("stream_idle_timeout", "", {
    env: "STREAM_IDLE_TIMEOUT",
    doc: "How long a streaming connection may be idle. Empty: four hours.",
  }),
  tlsMinVersion: text("tls_min_version", "VersionTLS12", {
    check: oneOf("VersionTLS12", "VersionTLS13"),
    doc: "Lowest TLS version of the streaming and the metrics server: VersionTLS12 or VersionTLS13.",
  }),
  tlsCipherSuites: list("tls_cipher_suites", [], {
    built: false,
    doc:
      "Accepted. Only suites with forward secrecy and authenticated encryption are offered, whatever is listed here.\nVersionTLS13 as tls_min_version leaves out TLS 1.2.",
  }),
  grpcMaxSendMsgSizeBytes: integer("grpc_max_send_msg_size", 83_886_080, {
    doc: "Largest answer in bytes; 0 or less is the default.",
  }),
  grpcMaxRecvMsgSizeBytes: integer("grpc_max_recv_msg_size", 83_886_080, {
    doc: "Largest request in bytes; 0 or less is the default.",
  }),
};

/** `[crio.network]`. */
export const NETWORK = {
  cniDefaultNetwork: text("cni_default_network", "", {
    doc: "Name of the CNI network to use. Empty: the first one found, by file name.",
  }),
  networkDir: text("network_dir", "/etc/cni/net.d/", {
    flag: "cni-config-dir",
    check: absolute,
    doc: "Directory of CNI configuration files; watched for changes.",
  }),
  pluginDirs: list("plugin_dirs", ["/opt/cni/bin/"], {
    flag: "cni-plugin-dir",
    doc: "Directories of CNI plugins.",
  }),
  pluginDir: text("plugin_dir", "", {
    flag: false,
    deprecated: "use plugin_dirs",
    doc: "One more directory of CNI plugins.",
  }),
  cniStatusGracePeriodMs: duration("cni_status_grace_period", "0s", {
    env: "CNI_STATUS_GRACE_PERIOD",
    built: false,
    doc:
      "How long a network that stops answering STATUS still counts as ready. 0: it is asked until its first success only.",
  }),
};

/** Names of all metric collectors. */
export const METRICS_COLLECTORS = [
  "image_pulls_layer_size",
  "containers_events_dropped_total",
  "containers_oom_total",
  "processes_defunct",
  "operations_total",
  "operations_latency_seconds",
  "operations_latency_seconds_total",
  "operations_errors_total",
  "image_pulls_bytes_total",
  "image_pulls_skipped_bytes_total",
  "image_pulls_failure_total",
  "image_pulls_success_total",
  "image_layer_reuse_total",
  "containers_oom_count_total",
  "containers_seccomp_notifier_count_total",
  "resources_stalled_at_stage",
  "containers_stopped_monitor_count",
  "default_runtime",
] as const;

/** `[crio.metrics]`. */
export const METRICS = {
  enableMetrics: off("enable_metrics", { doc: "Whether Prometheus metrics are served." }),
  metricsCollectors: list("metrics_collectors", METRICS_COLLECTORS, {
    doc: "Which metrics are served; prefixes crio_ and container_runtime_ may be left out.",
  }),
  metricsHost: text("metrics_host", "127.0.0.1", { doc: "Address that the metrics server listens on." }),
  metricsPort: integer("metrics_port", 9090, { check: between(0, 65535), doc: "Port of the metrics server." }),
  metricsSocket: text("metrics_socket", "", {
    check: absoluteOrEmpty,
    doc: "A unix socket that serves metrics as well.",
  }),
  metricsCert: text("metrics_cert", "", {
    doc:
      "Certificate file of the metrics server, read again when it changes. Where this and the key are missing, a\nself-signed pair is made.",
  }),
  metricsKey: text("metrics_key", "", { doc: "Key file of the metrics server. Empty: plain HTTP." }),
};

/** `[crio.tracing]`. */
export const TRACING = {
  enableTracing: off("enable_tracing", { built: false, doc: "Whether OpenTelemetry spans are exported." }),
  tracingEndpoint: text("tracing_endpoint", "127.0.0.1:4317", {
    built: false,
    doc: "Address of the OTLP collector (gRPC).",
  }),
  tracingSamplingRatePerMillion: integer("tracing_sampling_rate_per_million", 0, {
    built: false,
    check: between(0, 1_000_000),
    doc: "Samples per million spans; 1000000 takes all.",
  }),
};

const POD_METRICS = "all cpu hugetlb memory network oom process spec disk diskIO pressure".split(" ");

function podMetricSets(values: readonly string[]): string | undefined {
  if (values.includes("all") && values.length > 1) return 'has "all" beside others: name it alone';
  return values.map(oneOf(...POD_METRICS)).find((problem) => problem !== undefined);
}

/** `[crio.stats]`. */
export const STATS = {
  statsCollectionPeriodSeconds: integer("stats_collection_period", 0, {
    check: between(0, 86_400),
    deprecated: "use collection_period",
    doc: "Seconds between two collections of container stats; 0 collects on demand.",
  }),
  collectionPeriodSeconds: integer("collection_period", 0, {
    env: "COLLECTION_PERIOD",
    check: between(0, 86_400),
    doc: "Seconds between two collections of pod stats and metrics; 0 collects on demand.",
  }),
  includedPodMetrics: list("included_pod_metrics", [], {
    env: ["CONTAINER_INCLUDED_POD_METRICS", "CONTAINER_INCLUDED_POD_METRCIS"],
    check: podMetricSets,
    doc: `Sets of pod metrics: ${POD_METRICS.join(", ")}.`,
  }),
};

/** `[crio.nri]`. */
export const NRI = {
  enableNri: on("enable_nri", { env: false, doc: "Whether NRI plugins are served." }),
  nriListen: text("nri_listen", "/var/run/nri/nri.sock", { env: false, doc: "Path of the NRI socket." }),
  nriPluginDir: text("nri_plugin_dir", "/opt/nri/plugins", {
    env: false,
    doc: "Directory of NRI plugins that are started with the daemon.",
  }),
  nriPluginConfigDir: text("nri_plugin_config_dir", "/etc/nri/conf.d", {
    env: false,
    doc: "Directory of their configuration files.",
  }),
  nriDisableConnections: off("nri_disable_connections", {
    env: false,
    doc: "Whether plugins that were started elsewhere are refused.",
  }),
  nriPluginRegistrationTimeoutMs: duration("nri_plugin_registration_timeout", "5s", {
    env: false,
    doc: "How long a plugin may take to register.",
  }),
  nriPluginRequestTimeoutMs: duration("nri_plugin_request_timeout", "2s", {
    env: false,
    doc: "How long a plugin may take to answer.",
  }),
};

function rejects(what: string): { readonly env: false; readonly doc: string } {
  return { env: false, doc: `Whether plugins that ${what} are refused.` };
}

/** `[crio.nri.default_validator]`. */
export const NRI_VALIDATOR = {
  enable: off("nri_enable_default_validator", {
    env: false,
    doc: "Whether the built-in checks of what plugins adjust are on.",
  }),
  rejectOciHook: off("nri_validator_reject_oci_hook_adjustment", rejects("inject OCI hooks")),
  rejectRuntimeDefaultSeccomp: off(
    "nri_validator_reject_runtime_default_seccomp_adjustment",
    rejects("replace the runtime's seccomp profile"),
  ),
  rejectUnconfinedSeccomp: off(
    "nri_validator_reject_unconfined_seccomp_adjustment",
    rejects("add a seccomp profile to an unconfined container"),
  ),
  rejectCustomSeccomp: off(
    "nri_validator_reject_custom_seccomp_adjustment",
    rejects("replace a seccomp profile of the pod's own"),
  ),
  rejectNamespace: off("nri_validator_reject_namespace_adjustment", rejects("change namespaces")),
  requiredPlugins: list("nri_validator_required_plugins", [], {
    env: false,
    doc: "Plugins without which no container is created.",
  }),
  tolerateMissingPluginsAnnotation: text("nri_validator_tolerate_missing_plugins_annotation", "", {
    env: false,
    doc: "Pod annotation that lets a container be created although a required plugin is missing.",
  }),
};

/** What only flags and the environment set. */
export const PROCESS = {
  logPath: text("log", "", { doc: "File that the daemon's own log goes to, instead of stderr." }),
  logFormat: text("log_format", "text", {
    check: oneOf("text", "json"),
    doc: "Format of the daemon's log: text or json.",
  }),
  registriesConf: text("registries_conf", "", {
    hidden: true,
    doc: "Path of registries.conf. Empty: where containers-registries.conf(5) says.",
  }),
  registriesConfDir: text("registries_conf_dir", "", {
    hidden: true,
    doc: "Directory of the files that are merged into registries.conf. Empty: those beside it.",
  }),
  profile: off("profile", { built: false, doc: "Whether a profiling server is started." }),
  profilePort: integer("profile_port", 6060, {
    built: false,
    check: between(0, 65535),
    doc: "Port of the profiling server.",
  }),
  profileCpu: text("profile_cpu", "", { built: false, doc: "File that a CPU profile is written to." }),
  profileMem: text("profile_mem", "", { built: false, doc: "File that a memory profile is written to." }),
  enableProfileUnixSocket: off("enable_profile_unix_socket", {
    env: "ENABLE_PROFILE_UNIX_SOCKET",
    built: false,
    doc: "Whether profiles are served on the CRI socket.",
  }),
};

/** `[crio.runtime.workloads.<name>]`. */
export const WORKLOAD = {
  activationAnnotation: text("activation_annotation", "", {
    flag: false,
    check: (value) => value === "" ? "is needed" : undefined,
    doc: "Pod annotation that puts a pod into this workload.",
  }),
  annotationPrefix: text("annotation_prefix", "", {
    flag: false,
    doc: "Prefix of the annotations that override a container's resources.",
  }),
  allowedAnnotations: list("allowed_annotations", [], {
    flag: false,
    check: annotationNames,
    doc: "Annotations that pods of this workload may carry.",
  }),
};

/** `[crio.runtime.workloads.<name>.resources]`. */
export const WORKLOAD_RESOURCES = {
  cpuShares: integer("cpushares", 0, { flag: false, doc: "CPU shares of each container." }),
  cpuQuotaMicros: integer("cpuquota", 0, { flag: false, doc: "CPU time in microseconds per period." }),
  cpuPeriodMicros: integer("cpuperiod", 0, {
    flag: false,

    check: (value) => value !== 0 && value < 1000 ? "is less than 1000" : undefined,
    doc: "Period in microseconds, at least 1000.",
  }),
  cpuset: text("cpuset", "", { flag: false, doc: "CPUs that the containers may use." }),
  cpuLimitMillis: integer("cpulimit", 0, { flag: false, doc: "CPU limit in thousandths of a CPU." }),
};

/** `[crio.checkpoint_restore]`. */
export const CHECKPOINT_RESTORE = {
  containerLevelEnabled: text("container_level_enabled", "checkpoint_restore", {
    flag: "checkpoint-restore-container-level-enabled",
    check: oneOf("none", "checkpoint_only", "checkpoint_restore"),
    doc: "What is offered: none, checkpoint_only or checkpoint_restore.",
  }),
};
