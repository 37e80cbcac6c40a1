import { buildInfo, VERSION } from "../base/version.ts";
import { print } from "./_output.ts";
import { flagsOf } from "./commands.ts";
import { isSet, parseFlags, UsageError } from "./flags.ts";

/** `crio version [--json] [--verbose]`. */
export function versionCommand(args: readonly string[]): number {
  const parsed = parseFlags(args, flagsOf("version"));
  if (parsed.rest.length > 0) throw new UsageError(`version takes no argument, got ${parsed.rest.join(" ")}`);
  const information = versionInformation({ verbose: isSet(parsed, "verbose") });
  print(isSet(parsed, "json") ? `${JSON.stringify(information, undefined, 2)}\n` : asText(information));
  return 0;
}

type Information = Readonly<Record<string, string | boolean | readonly string[]>>;

/** The fields of CRI-O's `version`; `goVersion` names what runs this program instead of Go. */
function versionInformation(options: { readonly verbose: boolean }): Information {
  const { gitCommit, gitCommitDate, gitTreeState, buildDate, form } = buildInfo();
  const { os, arch } = Deno.build;
  const { deno, v8, typescript } = Deno.version;
  return {
    version: VERSION,
    gitCommit: gitCommit === "" ? "unknown" : gitCommit,
    gitCommitDate: gitCommitDate === "" ? "unknown" : gitCommitDate,
    gitTreeState: gitTreeState === "" ? "unknown" : gitTreeState,
    buildDate: buildDate === "" ? "unknown" : buildDate,
    goVersion: `none (deno ${deno})`,
    compiler: `deno ${deno}`,
    platform: `${os}/${arch === "x86_64" ? "amd64" : "arm64"}`,
    linkmode: "dynamic",
    buildTags: [form],
    ldFlags: "",
    seccompEnabled: fileExists("/proc/sys/kernel/seccomp/actions_avail"),
    appArmorEnabled: fileExists("/sys/kernel/security/apparmor/profiles"),
    dependencies: options.verbose ? [`deno ${deno}`, `v8 ${v8}`, `typescript ${typescript}`] : [],
  };
}

const LABELS: Readonly<Record<string, string>> = {
  version: "Version",
  gitCommit: "GitCommit",
  gitCommitDate: "GitCommitDate",
  gitTreeState: "GitTreeState",
  buildDate: "BuildDate",
  goVersion: "GoVersion",
  compiler: "Compiler",
  platform: "Platform",
  linkmode: "Linkmode",
  buildTags: "BuildTags",
  ldFlags: "LDFlags",
  seccompEnabled: "SeccompEnabled",
  appArmorEnabled: "AppArmorEnabled",
  dependencies: "Dependencies",
};

function asText(information: Information): string {
  return Object.entries(information)
    .filter(([, value]) => value !== "" && !(typeof value === "object" && value.length === 0))
    .map(([name, value]) => {
      const label = `${LABELS[name] ?? name}:`.padEnd(17);
      return typeof value === "object"
        ? `${label}\n${value.map((item) => `  ${item}\n`).join("")}`
        : `${label}${value}\n`;
    })
    .join("");
}

function fileExists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false; // the feature's file is not there
  }
}
