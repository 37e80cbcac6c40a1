import type { Config } from "../config/schema.ts";
import { hasController } from "../cgroup/hierarchies.ts";
import type { Host } from "../linux/host.ts";
import { mountRules } from "./volumes/mount_rules.ts";
import type { NodeDefaults } from "./ports.ts";

const CREATE_LIMIT_MS = 300_000;
const LOWEST_SCORE = -1000;

/** Limits and habits of this node, from the configuration and what the host can do. */
export function nodeDefaults(config: Config, host: Host): NodeDefaults {
  const { runtime } = config;
  const canLowerScore = host.capabilities.effective.includes("CAP_SYS_RESOURCE");
  return {
    defaultCapabilities: runtime.defaultCapabilities,
    availableCapabilities: new Set(host.capabilities.bounding),
    addInheritableCapabilities: runtime.addInheritableCapabilities,
    cgroupNamespaces: host.cgroup.mode === "v2",
    defaultEnv: runtime.defaultEnv,
    defaultUlimits: runtime.defaultUlimits.map(ulimit),
    pidsLimit: runtime.pidsLimit,
    timezone: runtime.timezone,
    readOnly: runtime.readOnly,
    rules: mountRules(config),
    minOomScoreAdj: canLowerScore ? LOWEST_SCORE : host.oomScoreAdj,
    hasHugetlb: hasController(host.cgroup, "hugetlb"),
    hasCpuset: hasController(host.cgroup, "cpuset"),
    hasSwap: host.swapAccounting,
    hasUnified: host.cgroup.mode === "v2",
    unsetsQuota: host.cgroup.mode === "v2" || runtime.cgroupManager === "systemd",
    createTimeoutMs: CREATE_LIMIT_MS,
    devices: {
      additional: runtime.additionalDevices,
      allowed: runtime.allowedDevices,
      ownedByUser: runtime.deviceOwnershipFromSecurityContext,
    },
    handlers: config.handlers,
    minGomaxprocs: runtime.minInjectedGomaxprocs,
    sharedCpuset: runtime.sharedCpuset,
    systemdCgroups: runtime.cgroupManager === "systemd",
  };
}

/** `nofile=1024:2048` -> RLIMIT_NOFILE; -1 is no limit. The configuration has checked the form. */
function ulimit(line: string): { type: string; soft: number; hard: number } {
  const [name, limits] = splitOnce(line, "=");
  const [soft, hard] = splitOnce(limits, ":");
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: limit(soft), hard: limit(hard === "" ? soft : hard) };
}

function limit(text: string): number {
  return text === "-1" ? Infinity : Number(text);
}

/** `key=value` lines as an object. */
export function assignments(lines: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(lines.map((line) => splitOnce(line, "=")));
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
