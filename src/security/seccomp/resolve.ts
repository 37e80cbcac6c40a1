import type { SeccompArgument, SeccompCondition, SeccompProfile } from "./profile.ts";

/** `linux.seccomp` of the OCI runtime specification. */
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly OciSeccompRule[];
}

export interface OciSeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgument[];
}

/** What conditions of a profile are compared with, apart from the container. */
export interface SeccompMachine {
  /** Of `Deno.build.arch`. */
  readonly arch: string;
  readonly kernel: { readonly major: number; readonly minor: number };
}

/** Names of architectures: Go's, which conditions use, and libseccomp's. */
const ARCHITECTURES: Readonly<Record<string, { readonly go: string; readonly scmp: string }>> = {
  x86_64: { go: "amd64", scmp: "SCMP_ARCH_X86_64" },
  aarch64: { go: "arm64", scmp: "SCMP_ARCH_AARCH64" },
};

/**
 * The profile as a runtime takes it: without conditions, for one set of capabilities on one machine. The order of the rules
 * stays.
 *
 * @param capabilities the container's bounding set, as `CAP_X`
 */
export function resolveSeccomp(
  profile: SeccompProfile,
  { capabilities, machine }: { readonly capabilities: ReadonlySet<string>; readonly machine: SeccompMachine },
): OciSeccomp {
  const { go, scmp } = ARCHITECTURES[machine.arch] ?? { go: machine.arch, scmp: "" };
  const holds = (condition: SeccompCondition): Holds => ({
    caps: condition.caps.filter((name) => capabilities.has(name)).length,
    arch: condition.arches.includes(go),
    kernel: condition.minKernel === undefined || isAtLeast(machine.kernel, condition.minKernel),
  });
  const rules = profile.rules.filter(({ includes, excludes }) => {
    const given = holds(includes);
    if (given.caps < includes.caps.length || !given.kernel || (includes.arches.length > 0 && !given.arch)) return false;
    const against = holds(excludes);
    return against.caps === 0 && !against.arch && (excludes.minKernel === undefined || !against.kernel);
  });
  const architectures = profile.archMap.filter(({ architecture }) => architecture === scmp)
    .flatMap(({ architecture, subArchitectures }) => [architecture, ...subArchitectures]);
  const { defaultAction, defaultErrnoRet, flags, listenerPath, listenerMetadata } = profile;
  const all = [...profile.architectures, ...architectures];
  return {
    defaultAction,
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet }),
    ...(all.length === 0 ? {} : { architectures: all }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(listenerPath === undefined ? {} : { listenerPath }),
    ...(listenerMetadata === undefined ? {} : { listenerMetadata }),
    ...(rules.length === 0 ? {} : { syscalls: rules.map(ociRule) }),
  };
}

interface Holds {
  readonly caps: number;
  readonly arch: boolean;
  readonly kernel: boolean;
}

function ociRule({ names, action, errnoRet, args }: SeccompProfile["rules"][number]): OciSeccompRule {
  return {
    names,
    action,
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args.length === 0 ? {} : { args }),
  };
}

function isAtLeast(kernel: SeccompMachine["kernel"], [major, minor]: readonly [number, number]): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}
