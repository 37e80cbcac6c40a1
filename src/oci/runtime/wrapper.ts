import type { Logger } from "../../base/logger.ts";
import type { CgroupLayout } from "../../linux/host.ts";
import type { RuntimeVersion } from "./version.ts";

export interface WrapperOptions {
  /** The runtime's real path. */
  readonly path: string;
  readonly version: RuntimeVersion;
  readonly cgroup: CgroupLayout;
  /** Where the wrapper is written; only root can write there. */
  readonly directory: string;
  readonly log: Logger;
  /** Default `/usr/bin/perl`; used where it is there, else sh and util-linux. */
  readonly perl?: string;
}

/** Numbers of unshare, mount and umount2 (asm/unistd_64.h, asm-generic/unistd.h). */
const SYSCALLS: Readonly<Record<string, readonly [unshare: number, mount: number, umount2: number]>> = {
  x86_64: [272, 165, 166],
  aarch64: [97, 40, 39],
};
const CLONE_NEWNS = 0x20000;
const MS_PRIVATE = 0x40000;
const MNT_DETACH = 2;
/** The only place where crun looks for the v2 hierarchy of a hybrid host, and the mount that holds it. */
const UNIFIED = "/sys/fs/cgroup/unified";
const UNIFIED_PARENT = "/sys/fs/cgroup";

/** Whether this runtime refuses this host although it could run on its v1 controllers (crun before 1.9). */
export function needsV1View(version: RuntimeVersion, cgroup: CgroupLayout): boolean {
  const refuses = version.program === "crun" && (version.major < 1 || (version.major === 1 && version.minor < 9));
  return refuses && cgroup.unified === UNIFIED && cgroup.mode === "hybrid" && cgroup.unifiedControllers.length > 0;
}

/**
 * The path by which to call a runtime on this host: its own, or that of a small wrapper written here.
 *
 * An old crun refuses a hybrid host whose v2 hierarchy holds a controller. The wrapper runs it in a fresh mount
 * namespace without that v2 mount, so that it works as on v1. Only the runtime is inside: mounts made later on the
 * host are seen by the next call. Other mounts keep their propagation; the cgroup mount's parent is made private
 * inside first, so that the detached mount stays where it is for everybody else.
 *
 * @throws Error when the wrapper cannot be written
 */
export async function runtimePathFor(options: WrapperOptions): Promise<string> {
  const { path, cgroup, directory, log, version } = options;
  if (!needsV1View(version, cgroup)) return path;
  // One for each program: handlers may have several, and are opened at the same time.
  const wrapper = `${directory}/${encodeURIComponent(path)}-cgroup-v1`;
  await Deno.mkdir(directory, { recursive: true, mode: 0o755 });
  const staged = `${wrapper}.${crypto.randomUUID()}`;
  await Deno.writeTextFile(staged, await scriptFor(options), { mode: 0o755 });
  await Deno.chmod(staged, 0o755);
  await Deno.rename(staged, wrapper);
  log.info(
    `${version.program} ${version.version} refuses hosts with cgroup v1 and v2 controllers: it runs without the v2 ` +
      `mount, through a wrapper; 1.9 or newer needs none`,
    { wrapper },
  );
  return wrapper;
}

async function scriptFor({ path, perl = "/usr/bin/perl" }: WrapperOptions): Promise<string> {
  const numbers = SYSCALLS[Deno.build.arch];
  return numbers !== undefined && await isFile(perl) ? perlScript(path, { perl, numbers }) : shellScript(path);
}

/** One process instead of four: 1.5 ms a call where the shell's way takes 5. */
function perlScript(
  path: string,
  { perl, numbers }: { readonly perl: string; readonly numbers: readonly [number, number, number] },
): string {
  const [unshare, mount, umount2] = numbers;
  return `#!${perl}
my ($none, $parent, $unified) = ("none", "${UNIFIED_PARENT}", "${UNIFIED}");
syscall(${unshare}, ${CLONE_NEWNS}) == 0 or die "unshare the mount namespace: $!\\n";
syscall(${mount}, $none, $parent, 0, ${MS_PRIVATE}, 0) == 0 or die "make $parent private: $!\\n";
syscall(${umount2}, $unified, ${MNT_DETACH}) == 0 or die "detach $unified: $!\\n";
exec { ${perlQuote(path)} } ${perlQuote(path)}, @ARGV or die "execute: $!\\n";
`;
}

function shellScript(path: string): string {
  const inside = `mount --make-private ${UNIFIED_PARENT} && umount -l ${UNIFIED} && exec "$@"`;
  return `#!/bin/sh
exec unshare --mount --propagation unchanged /bin/sh -c '${inside}' sh ${shellQuote(path)} "$@"
`;
}

function perlQuote(text: string): string {
  return `'${text.replace(/[\\']/g, (char) => `\\${char}`)}'`;
}

function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
