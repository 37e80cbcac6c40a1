import { messageOf, ResourceExhaustedError, UnavailableError } from "../base/errors.ts";
import { hostIdOf, type IdMaps, idMapText, rootOwner } from "../base/id_maps.ts";
import { checked, cString, errno, lazyLibc } from "./_libc.ts";
import { elfProgram, type MachineCode } from "./elf_program.ts";
import { ErrnoError, isErrno } from "./errno.ts";
import { namespaceSetup } from "./_namespace_setup.ts";
import {
  pinNamespaceOfProcess,
  type PinnedKind,
  type PinnedNamespaces,
  type PinOptions,
  unpinNamespace,
} from "./namespaces.ts";
import { openPipe, readableOf } from "./pipe.ts";
import { spawnProcess } from "./spawn.ts";
import { closeFd, enterNamespace, inWindow, KINDS, O_WRONLY, openPath, stage } from "./_window.ts";

const libc = lazyLibc({
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  syscall: { parameters: ["i64", "u32", "u32", "u32"], result: "i64" },
});

const MFD_CLOEXEC = 1;
const UNCHANGED = 0xffff_ffff;
/** setresuid(2) as the kernel knows it, for this thread alone (asm/unistd_64.h, asm-generic/unistd.h). */
const SYS_SETRESUID: Readonly<Record<string, bigint>> = { x86_64: 117n, aarch64: 147n };
const PING_GROUP_RANGE = /^net[./]ipv4[./]ping_group_range$/;
const HIGHEST_PING_GROUP = 2 ** 31 - 1;

/**
 * The program that stands in new namespaces until they are pinned: unshare(flags); one byte to standard output; waits for
 * the end of its standard input; leaves with 0, or with the errno of unshare.
 *
 * x86_64:                                      aarch64:
 *
 *     mov eax, 272  ; unshare                     mov x8, #97
 *     mov edi, FLAGS                              ldr w0, flags
 *     syscall; test eax, eax; js fail             svc #0; cmp x0, #0; b.lt fail
 *     mov eax, 1; mov edi, 1  ; write             mov x8, #64; mov x0, #1
 *     mov rsi, rsp; mov edx, 1; syscall           mov x1, sp; mov x2, #1; svc #0
 *     xor eax, eax; xor edi, edi  ; read          mov x8, #63; mov x0, #0
 *     mov rsi, rsp; mov edx, 1; syscall           mov x1, sp; mov x2, #1; svc #0
 *     xor eax, eax                                mov x0, #0
 *     fail: neg eax; mov edi, eax                 fail: neg x0, x0
 *     mov eax, 60; syscall  ; exit                mov x8, #93; svc #0
 *                                                 flags: .word FLAGS
 */
function standIn(flags: number): MachineCode {
  const word = new Uint8Array(Uint32Array.of(flags).buffer).toHex();
  return {
    x86_64: `b810010000bf${word}0f0585c07824b801000000bf010000004889e6ba010000000f0531c031ff4889e6ba010000000f05` +
      "31c0f7d889c7b83c0000000f05",
    aarch64: "280c80d240020018010000d41f0000f18b010054080880d2200080d2e1030091220080d2010000d4e80780d2000080d2" +
      `e1030091220080d2010000d4000080d2e00300cba80b80d2010000d4${word}`,
  };
}

export interface OwnedPinOptions extends PinOptions {
  /** Ids of the new user namespace. */
  readonly maps: IdMaps;
  readonly signal?: AbortSignal;
}

/**
 * Makes a user namespace with these id maps and pins it, with further namespaces that belong to it.
 *
 * A user namespace cannot be made by a process with several threads: a child does it, which is gone when this returns.
 *
 * @throws like `pinNamespaces`; ResourceExhaustedError where the node allows no more user namespaces
 */
export async function pinOwnedNamespaces(
  options: OwnedPinOptions,
): Promise<PinnedNamespaces & { readonly user: string }> {
  const { kinds, maps, directory, name, sysctls = {} } = options;
  const setup = namespaceSetup({ ...options, sysctls: translated(sysctls, maps) });
  await using child = await startStandIn(kinds, options);
  using undo = new DisposableStack();
  writeMaps(child.pid, maps);
  inWindow(kinds, () => {
    for (const kind of kinds) enterNamespace(`/proc/${child.pid}/ns/${KINDS[kind].file}`, kind);
    setup.run();
    asUser(rootOwner(maps).uid, () => setup.runAsOwner());
  });
  const pin = <K extends PinnedKind | "user">(kind: K): string =>
    undo.adopt(pinNamespaceOfProcess(child.pid, { directory, name, kind }), unpinNamespace);
  const pins = { user: pin("user"), ...Object.fromEntries(kinds.map((kind) => [kind, pin(kind)])) };
  undo.move();
  return pins;
}

/** A user namespace with these id maps for the time of an id-mapped mount; valid until disposed. */
export async function openUserNamespace(
  maps: IdMaps,
  options: { readonly signal?: AbortSignal } = {},
): Promise<{ readonly path: string } & AsyncDisposable> {
  const child = await startStandIn([], options);
  try {
    writeMaps(child.pid, maps);
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return { path: `/proc/${child.pid}/ns/user`, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}

interface StandIn extends AsyncDisposable {
  readonly pid: number;
}

async function startStandIn(
  kinds: readonly PinnedKind[],
  { signal }: { readonly signal?: AbortSignal },
): Promise<StandIn> {
  signal?.throwIfAborted();
  const flags = (["user", ...kinds] as const).reduce((sum, kind) => sum | KINDS[kind].flag, 0);
  using stdin = openPipe();
  using stdout = openPipe();
  const program = memoryProgram(elfProgram(standIn(flags), Deno.build.arch));
  const child = (() => {
    try {
      const fds = new Map([[0, stdin.read.fd], [1, stdout.write.fd]]);
      return spawnProcess([`/proc/${Deno.pid}/fd/${program}`], { env: {}, fds });
    } finally {
      closeFd(program);
    }
  })();
  stdin.read.close();
  stdout.write.close();
  const hold = stdin.write.release();
  const end = async (): Promise<void> => {
    closeFd(hold);
    await child.exited;
  };
  if (await firstByte(readableOf(stdout.read))) return { pid: child.pid, [Symbol.asyncDispose]: end };
  await end();
  throw refusal((await child.exited).exitCode);
}

/** Whether a byte came before the end. */
async function firstByte(stream: ReturnType<typeof readableOf>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<"ready" | "ended">();
  stream.once("data", () => resolve("ready")).once("close", () => resolve("ended")).on("error", () => {});
  try {
    return await promise === "ready";
  } finally {
    stream.destroy();
  }
}

function refusal(code: number): Error {
  const error = new ErrnoError("unshare", code);
  if (isErrno(error, "ENOSPC")) {
    const remedy = "raise user.max_user_namespaces (sysctl), or have fewer pods with user namespaces";
    return new ResourceExhaustedError(`no more user namespaces are allowed on this node: ${remedy}`, { cause: error });
  }
  return new UnavailableError(`user namespaces cannot be made on this node: ${messageOf(error)}`, { cause: error });
}

function memoryProgram(bytes: Uint8Array<ArrayBuffer>): number {
  // FFI memfd_create(2), write(2): memory only, cannot block. A file system that is mounted noexec does not matter so.
  const fd = checked(libc().memfd_create(cString("stand-in"), MFD_CLOEXEC), "memfd_create");
  checked(Number(libc().write(fd, bytes, BigInt(bytes.length))), "write");
  return fd;
}

function writeMaps(pid: number, { uidMaps, gidMaps }: IdMaps): void {
  for (const [file, maps] of [["uid_map", uidMaps], ["gid_map", gidMaps]] as const) {
    stage(`map ids in a user namespace (${file})`, () => {
      const fd = openPath(`/proc/${pid}/${file}`, O_WRONLY);
      try {
        const bytes = new TextEncoder().encode(idMapText(maps));
        // FFI write(2): the kernel takes a map in one write only.
        checked(Number(libc().write(fd, bytes, BigInt(bytes.length))), "write", file);
      } finally {
        closeFd(fd);
      }
    });
  }
}

/** Runs `body` with another effective user id of this thread alone. */
function asUser(uid: number, body: () => void): void {
  if (uid === 0) return body();
  setEffectiveUser(uid);
  try {
    body();
  } finally {
    setEffectiveUser(0);
  }
}

function setEffectiveUser(uid: number): void {
  const number = SYS_SETRESUID[Deno.build.arch] ?? 0n;
  // FFI setresuid(2), past glibc, which would change all threads: cannot block. Real and saved id stay root's.
  if (libc().syscall(number, UNCHANGED, uid, UNCHANGED) === -1n) throw new ErrnoError("setresuid", errno());
}

/** Group ids in a sysctl are the pod's; written from outside they have to be the node's. */
function translated(sysctls: Readonly<Record<string, string>>, { gidMaps }: IdMaps): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sysctls).map(([name, value]) => {
      return [name, PING_GROUP_RANGE.test(name) ? pingGroupRange(value, gidMaps) : value];
    }),
  );
}

/**
 * The range as the node knows it, cut down to what is mapped: pods are often given one up to 2147483647, which no user
 * namespace has. Beyond the first range of the map nothing is allowed.
 */
export function pingGroupRange(value: string, gidMaps: IdMaps["gidMaps"]): string {
  const [low, high] = value.trim().split(/\s+/).map(Number);
  if (low === undefined || high === undefined || !(low <= high)) return value;
  const map = gidMaps.find(({ containerId, length }) => low >= containerId && low < containerId + length);
  const first = hostIdOf(gidMaps, low);
  if (map === undefined || first === undefined) return value;
  const last = hostIdOf(gidMaps, Math.min(high, map.containerId + map.length - 1)) ?? first;
  return `${first} ${Math.min(last, HIGHEST_PING_GROUP)}`;
}
