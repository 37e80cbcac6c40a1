/**
 * Fewer privileges for a child of this program.
 *
 * Capabilities and no_new_privs belong to threads. A program on V8 has its threads before its first line runs, so they
 * have to be given up before it is executed: setpriv of util-linux does that, where the host has it.
 */
import { checked, lazyLibc } from "./_libc.ts";
import { parseCapabilities } from "./host.ts";

const libc = lazyLibc({
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  capget: { parameters: ["buffer", "buffer"], result: "i32" },
  capset: { parameters: ["buffer", "buffer"], result: "i32" },
});

const PR_SET_NO_NEW_PRIVS = 38;
/** _LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two sets of three 32-bit words. */
const CAPABILITY_VERSION_3 = 0x20080522;

/** Capabilities that can be kept, with their numbers (linux/capability.h). */
const NUMBERS = {
  chown: 0,
  dac_override: 1,
  fowner: 3,
  fsetid: 4,
  sys_admin: 21,
  mknod: 27,
  setfcap: 31,
} as const;

export type KeptCapability = keyof typeof NUMBERS;

const SETPRIV_PLACES = ["/usr/bin/setpriv", "/bin/setpriv", "/usr/sbin/setpriv"];

/**
 * What stands before a command to start it without the right to gain privileges and with only these capabilities; empty
 * where the host has no setpriv or we may not use it: the program then calls {@link restrictThread} itself.
 *
 * @param capabilities those that we lack ourselves are left out by the kernel
 */
export async function restrictedPrefix(capabilities: readonly KeptCapability[]): Promise<readonly string[]> {
  const held = parseCapabilities(await Deno.readTextFile("/proc/self/status"), "CapEff");
  // Without CAP_SETPCAP the bounding set cannot be made smaller, and setpriv would fail.
  if (!held.includes("CAP_SETPCAP")) return [];
  for (const path of SETPRIV_PLACES) {
    try {
      await Deno.stat(path);
    } catch {
      continue;
    }
    const kept = capabilities.map((name) => `+${name}`).join(",");
    return [path, "--no-new-privs", "--inh-caps=-all", `--bounding-set=-all,${kept}`, "--"];
  }
  return [];
}

/**
 * Sets no_new_privs and drops all other capabilities of the calling thread and of threads that it starts from now on.
 * Other threads of the process keep theirs: this is a second line, not a wall.
 */
export function restrictThread(capabilities: readonly KeptCapability[]): void {
  // FFI prctl(2) PR_SET_NO_NEW_PRIVS, capget(2), capset(2): buffers are used during the calls only; never block.
  checked(libc().prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n), "prctl PR_SET_NO_NEW_PRIVS");
  const header = new Uint32Array([CAPABILITY_VERSION_3, 0]);
  const sets = new Uint32Array(6);
  checked(libc().capget(header, sets), "capget");
  let mask = 0;
  for (const name of capabilities) mask |= 1 << NUMBERS[name];
  // effective, permitted, inheritable of capabilities 0 to 31, then of 32 and up.
  const low = ((sets[1] ?? 0) & mask) >>> 0;
  checked(libc().capset(header, new Uint32Array([low, low, 0, 0, 0, 0])), "capset");
}
