import { messageOf } from "../../base/errors.ts";
import { adaptToHost, detectHost } from "../../config/adapt.ts";
import { buildConfig } from "../../config/build.ts";
import type { Config } from "../../config/schema.ts";
import type { ConfigValues } from "../../config/values.ts";
import { isClockSynchronized } from "../../linux/clock_state.ts";
import { commandResult } from "../../linux/command.ts";
import { IsalDecoder, ZstdDecoder } from "../../linux/decoders.ts";
import { findProgram, type Host, inspectHost } from "../../linux/host.ts";
import { mountOf, readMounts } from "../../linux/mountinfo.ts";
import { type FilesystemStats, filesystemStats } from "../../linux/statfs.ts";
import { loadNetworks } from "../../network/config.ts";
import { resolves } from "../../linux/exists.ts";

/** What a node is like, as far as pods care; plain data. */
export interface HostFacts {
  readonly host: Host;
  /** Undefined when it is not usable here: `configProblem` says why. */
  readonly config: Config | undefined;
  readonly configProblem: string;
  /** Handlers that were left out, and the like. */
  readonly warnings: readonly string[];
  /** Programs with the first line of their `--version`; undefined: it could not be run. */
  readonly programs: readonly { readonly role: string; readonly path: string; readonly version: string | undefined }[];
  readonly networks: {
    readonly names: readonly string[];
    readonly problems: readonly string[];
    /** Plugins of the first network that no directory has. */
    readonly missingPlugins: readonly string[];
  };
  /** By path below /proc/sys, with slashes; those that the kernel does not have are left out. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly swap: boolean;
  readonly store: { readonly filesystem: string; readonly stats: FilesystemStats } | undefined;
  readonly rootIsShared: boolean;
  /** Soft limit of open files of this process; Infinity: none. */
  readonly openFiles: number;
  readonly glibc: string;
  readonly isal: boolean;
  readonly zstd: boolean;
  readonly clock: { readonly synchronized: boolean | undefined; readonly year: number };
  readonly policy: { readonly path: string; readonly exists: boolean };
  readonly apparmorParser: boolean;
  readonly criu: boolean;
}

/** Sysctls that are looked at. */
export const SYSCTLS = [
  "net/ipv4/ip_forward",
  "net/ipv6/conf/all/forwarding",
  "net/bridge/bridge-nf-call-iptables",
  "vm/overcommit_memory",
  "vm/panic_on_oom",
  "kernel/panic",
  "kernel/panic_on_oops",
  "kernel/pid_max",
  "fs/inotify/max_user_instances",
  "fs/inotify/max_user_watches",
  "user/max_user_namespaces",
] as const;

const PROGRAM_LIMIT_MS = 5000;

/** Looks at this node; starts each runtime and monitor once to ask its version. */
export async function hostFacts(values: ConfigValues): Promise<HostFacts> {
  const { config, configProblem, warnings } = effectiveConfig(values);
  const policyPath = config?.image.signaturePolicy || "/etc/containers/policy.json";
  const [host, programs, networks, sysctls, swaps, limits, mounts, glibc, policyExists, parser, criu] = await Promise
    .all([
      inspectHost(),
      programsOf(config),
      networksOf(config),
      readSysctls(),
      read("/proc/swaps"),
      read("/proc/self/limits"),
      readMounts(),
      glibcVersion(),
      resolves(policyPath),
      findProgram("apparmor_parser"),
      findProgram("criu"),
    ]);
  return {
    ...{ host, config, configProblem, warnings, programs, networks, sysctls, glibc },
    swap: swaps.trim().split("\n").length > 1,
    store: await storeOf(config, mounts),
    rootIsShared: mountOf(mounts, "/")?.shared !== undefined,
    openFiles: Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity),
    isal: opens(() => IsalDecoder.open()),
    zstd: opens(() => ZstdDecoder.open()),
    clock: { synchronized: isClockSynchronized(), year: new Date().getFullYear() },
    policy: { path: policyPath, exists: policyExists },
    apparmorParser: parser !== undefined,
    criu: criu !== undefined,
  };
}

function effectiveConfig(values: ConfigValues): Pick<HostFacts, "config" | "configProblem" | "warnings"> {
  const warnings = (): string[] => values.warnings.map(({ keyPath, problem }) => `${keyPath}: ${problem}`);
  try {
    adaptToHost(values, detectHost(Deno.env.get("PATH") ?? ""));
    return { config: buildConfig(values), configProblem: "", warnings: warnings() };
  } catch (error) {
    return { config: undefined, configProblem: messageOf(error), warnings: warnings() };
  }
}

async function programsOf(config: Config | undefined): Promise<HostFacts["programs"]> {
  const handlers = [...config?.handlers.values() ?? []];
  const monitors = [...new Set(handlers.map(({ monitorPath }) => monitorPath))];
  const wanted = [
    ...handlers.map(({ name, runtimePath }) => ({ role: `runtime ${name}`, path: runtimePath })),
    ...monitors.map((path) => ({ role: "monitor", path })),
  ];
  return await Promise.all(wanted.map(async (one) => ({ ...one, version: await versionOf(one.path) })));
}

async function versionOf(path: string): Promise<string | undefined> {
  try {
    const result = await commandResult([path, "--version"], { signal: AbortSignal.timeout(PROGRAM_LIMIT_MS) });
    if (result.exitCode !== 0) return undefined;
    return new TextDecoder().decode(result.stdout).split("\n")[0] ?? "";
  } catch {
    return undefined; // not a program for this machine, or one that hangs: both are told as "cannot be run"
  }
}

async function networksOf(config: Config | undefined): Promise<HostFacts["networks"]> {
  if (config === undefined) return { names: [], problems: [], missingPlugins: [] };
  const { networkDir, pluginDirs, cniDefaultNetwork } = config.network;
  const { networks, problems } = await loadNetworks(networkDir);
  const used = cniDefaultNetwork === "" ? networks[0] : networks.find(({ name }) => name === cniDefaultNetwork);
  const types = (used?.plugins ?? []).flatMap(({ type, raw }) => [type, ...addressPlugin(raw["ipam"])]);
  const missing: string[] = [];
  for (const type of new Set(types)) {
    const there = await Promise.all(pluginDirs.map((directory) => resolves(`${directory}/${type}`)));
    if (there.every((one) => !one)) missing.push(type);
  }
  return { names: networks.map(({ name }) => name), problems: problems.map(messageOf), missingPlugins: missing };
}

/** The plugin that a plugin asks for addresses is a program of the same directories. */
function addressPlugin(ipam: unknown): string[] {
  const type = (ipam as { readonly type?: unknown } | null | undefined)?.type;
  return typeof type === "string" && type !== "" ? [type] : [];
}

async function readSysctls(): Promise<Readonly<Record<string, string>>> {
  const pairs = await Promise.all(
    SYSCTLS.map(async (name) => [name, (await read(`/proc/sys/${name}`)).trim()] as const),
  );
  return Object.fromEntries(pairs.filter(([, value]) => value !== ""));
}

/** The file system that the store is on, or will be made on. */
async function storeOf(
  config: Config | undefined,
  mounts: Awaited<ReturnType<typeof readMounts>>,
): Promise<HostFacts["store"]> {
  if (config === undefined) return undefined;
  let path = config.crio.root;
  while (path !== "" && !await resolves(path)) path = path.slice(0, path.lastIndexOf("/"));
  const place = await Deno.realPath(path === "" ? "/" : path);
  return { filesystem: mountOf(mounts, place)?.filesystem ?? "", stats: filesystemStats(place) };
}

async function glibcVersion(): Promise<string> {
  const result = await commandResult(["/usr/bin/env", "getconf", "GNU_LIBC_VERSION"]).catch(() => undefined);
  return new TextDecoder().decode(result?.stdout).trim().replace(/^glibc /, "");
}

function opens(open: () => Disposable | undefined): boolean {
  using decoder = open();
  return decoder !== undefined;
}

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}
