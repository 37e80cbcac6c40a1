import { annotationNames } from "./_checks.ts";
import { ConfigError } from "./toml.ts";
import type { RawValue } from "./option.ts";
import type { ConfigValues, SourcedTable } from "./values.ts";

/** What the configuration needs to know about the host. */
export interface ConfigHost {
  /** Whether systemd runs as process 1. */
  readonly systemd: boolean;
  /** The absolute path of a program. */
  findExecutable(name: string): string | undefined;
  /** Whether a directory has at least one entry. */
  hasFiles(directory: string): boolean;
}

/** Where node packages put programs that need not be in $PATH. */
const PROGRAM_DIRS = ["/usr/libexec/crio", "/usr/local/libexec/crio", "/usr/lib/crio"];
/** Where distributions put CNI plugins. */
const PLUGIN_DIRS = ["/usr/lib/cni", "/usr/libexec/cni"];
const MONITOR_ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
const DEFAULT_ANNOTATIONS = ["io.containers.trace-syscall", "io.kubernetes.cri-o.Devices", "devices.crio.io"];
const SOURCE = "this host";

/** Looks at this host. Reads a few directories; for the start only. */
export function detectHost(path: string): ConfigHost {
  return {
    systemd: exists("/run/systemd/system"),
    hasFiles: (directory) => {
      try {
        return !Deno.readDirSync(directory)[Symbol.iterator]().next().done;
      } catch {
        return false; // missing or unreadable: nothing to be had there
      }
    },
    findExecutable: (name) => {
      if (name.includes("/")) return isExecutable(name) ? name : undefined;
      const directories = [...path.split(":").filter((directory) => directory.startsWith("/")), ...PROGRAM_DIRS];
      return directories.map((directory) => `${directory}/${name}`).find(isExecutable);
    },
  };
}

/**
 * Completes what the user left open with what this host has: cgroup manager, plugin directories, runtime handlers and
 * their monitors. Handlers that cannot work are dropped with a warning.
 *
 * @throws ConfigError when the default handler cannot work
 */
export function adaptToHost(values: ConfigValues, host: ConfigHost): void {
  if (!host.systemd && !values.fixed.has("crio.runtime.cgroup_manager")) {
    values.set("crio.runtime.cgroup_manager", "cgroupfs", SOURCE);
  }
  adaptPluginDirs(values, host);
  addDefaultHandlers(values, host);
  checkWorkloads(values);
  const defaultName = String(values.get("crio.runtime.default_runtime"));
  const defaultHandler = values.handlers.get(defaultName);
  if (defaultHandler === undefined) {
    const known = [...values.handlers.keys()].join(", ");
    throw new ConfigError(
      sourceOf(values),
      PATH,
      `no handler ${JSON.stringify(defaultName)} is configured (there are: ${known})`,
    );
  }
  for (const [name, handler] of values.handlers) {
    const result = completed(values, { name, handler, base: defaultHandler, host });
    if (typeof result !== "string") values.handlers.set(name, result);
    else if (name === defaultName) throw new ConfigError(handler.source, handlerPath(name), result);
    else {
      values.handlers.delete(name);
      values.warnings.push({ source: handler.source, keyPath: handlerPath(name), problem: `is left out: ${result}` });
    }
  }
}

const PATH = "crio.runtime.default_runtime";

function sourceOf(values: ConfigValues): string {
  return values.fixed.get(PATH)?.source ?? "default configuration";
}

/** @throws ConfigError for a workload that no pod could activate */
function checkWorkloads(values: ConfigValues): void {
  for (const [name, workload] of values.workloads) {
    if (textOf(workload.values, "activation_annotation") !== "") continue;
    throw new ConfigError(workload.source, `crio.runtime.workloads.${name}.activation_annotation`, "is needed");
  }
}

function handlerPath(name: string): string {
  return `crio.runtime.runtimes.${name}`;
}

function adaptPluginDirs(values: ConfigValues, host: ConfigHost): void {
  const path = "crio.network.plugin_dirs";
  const listed = values.get(path) as readonly string[];
  const single = String(values.get("crio.network.plugin_dir"));
  const found = values.fixed.has(path) ? [] : PLUGIN_DIRS.filter((directory) => host.hasFiles(directory));
  const all = [...new Set([...listed, ...found, ...(single === "" ? [] : [single])])];
  if (all.length > listed.length) values.set(path, all, SOURCE);
}

function addDefaultHandlers(values: ConfigValues, host: ConfigHost): void {
  const given = values.handlers.size > 0;
  for (const name of ["crun", "runc"]) {
    if (values.handlers.has(name)) continue;
    const known = host.findExecutable(name) !== undefined;
    const wanted = values.get(PATH) === name;
    if (!known && !(wanted && !given)) continue;
    const row: ReadonlyMap<string, RawValue> = new Map([["allowed_annotations", DEFAULT_ANNOTATIONS]]);
    values.handlers.set(name, { values: row, resources: new Map(), source: "default configuration" });
  }
  const crun = values.handlers.get("crun");
  const useRunc = !values.fixed.has(PATH) && values.handlers.has("runc") &&
    (crun === undefined || (!crun.values.has("runtime_path") && host.findExecutable("crun") === undefined));
  if (!useRunc) return;
  values.set(PATH, "runc", SOURCE);
  if (crun?.source === "default configuration") values.handlers.delete("crun");
  values.warnings.push({
    source: "default configuration",
    keyPath: PATH,
    problem: "crun is not installed, runc is used instead: install crun, or set default_runtime",
  });
}

interface Completion {
  readonly name: string;
  readonly handler: SourcedTable;
  readonly base: SourcedTable;
  readonly host: ConfigHost;
}

/** The handler with nothing left open, or why it cannot work. */
function completed(values: ConfigValues, { name, handler, base, host }: Completion): SourcedTable | string {
  const row = new Map(handler.values);
  if (row.get("inherit_default_runtime") === true) {
    for (const key of ["runtime_path", "runtime_type", "runtime_root", "runtime_config_path"]) {
      const inherited = base.values.get(key);
      if (inherited !== undefined) row.set(key, inherited);
    }
  }
  const type = textOf(row, "runtime_type");
  if (type === "vm" || type === "pod") return `runtime_type ${JSON.stringify(type)} is not supported by this version`;
  const wantedPath = textOf(row, "runtime_path");
  const path = host.findExecutable(wantedPath === "" ? name : wantedPath);
  if (path === undefined) {
    return wantedPath === ""
      ? `no program ${JSON.stringify(name)} in $PATH: install it, or set runtime_path`
      : `runtime_path ${JSON.stringify(wantedPath)} is not an executable file`;
  }
  const monitorName = firstOf(textOf(row, "monitor_path"), String(values.get("crio.runtime.conmon")), "conmon");
  const monitor = host.findExecutable(monitorName);
  if (monitor === undefined) {
    return `the monitor ${JSON.stringify(monitorName)} is not an executable file: install conmon, or set monitor_path`;
  }
  const problem = listProblem(row, host) ?? completeMonitor(values, row);
  if (problem !== undefined) return problem;
  row.set("runtime_path", path).set("runtime_type", "oci").set("monitor_path", monitor);
  if (textOf(row, "runtime_root") === "") row.set("runtime_root", `/run/${name}`);
  if (textOf(row, "container_min_memory") === "") {
    row.set("container_min_memory", path.endsWith("/crun") ? "500 KiB" : "12 MiB");
  }
  return { ...handler, values: row };
}

/** What is wrong with annotations or programs that a handler lists. */
function listProblem(row: ReadonlyMap<string, RawValue>, host: ConfigHost): string | undefined {
  const allowed = annotationNames((row.get("allowed_annotations") ?? []) as readonly string[]);
  if (allowed !== undefined) return `allowed_annotations: ${allowed}`;
  const platforms = (row.get("platform_runtime_paths") ?? {}) as Readonly<Record<string, string>>;
  for (const [platform, program] of Object.entries(platforms)) {
    if (/^[a-z0-9]+\/[a-z0-9]+$/.test(platform) && host.findExecutable(program) === program) continue;
    const line = `${JSON.stringify(platform)} = ${JSON.stringify(program)}`;
    return `platform_runtime_paths: ${line} is not an os/arch with the absolute path of a program`;
  }
  return undefined;
}

function completeMonitor(values: ConfigValues, row: Map<string, RawValue>): string | undefined {
  const systemd = values.get("crio.runtime.cgroup_manager") === "systemd";
  const asked = firstOf(textOf(row, "monitor_cgroup"), String(values.get("crio.runtime.conmon_cgroup")), "");
  if (!systemd && asked !== "" && asked !== "pod") {
    return `monitor_cgroup ${JSON.stringify(asked)} needs cgroup_manager systemd: use "pod"`;
  }
  row.set("monitor_cgroup", firstOf(asked, systemd ? "system.slice" : "pod", ""));
  if (row.get("monitor_env") === undefined) {
    const env = values.get("crio.runtime.conmon_env") as readonly string[];
    row.set("monitor_env", env.length > 0 ? env : MONITOR_ENV);
  }
  return undefined;
}

function textOf(row: ReadonlyMap<string, RawValue>, key: string): string {
  const value = row.get(key);
  return typeof value === "string" ? value : "";
}

function firstOf(first: string, second: string, last: string): string {
  if (first !== "") return first;
  return second === "" ? last : second;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false; // missing, or hidden from us: the same here
  }
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false; // not a usable program
  }
}
