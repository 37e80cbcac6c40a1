import { crioCommand } from "./crio.ts";
import type { Lab } from "./lab.ts";

/** What `crio check --json` says. */
export interface StoreCheck {
  readonly sound: boolean;
  readonly layers: number;
  readonly images: number;
  readonly verified: number;
  readonly problems: readonly {
    readonly subject: string;
    readonly kind: string;
    readonly id: string;
    readonly detail: string;
  }[];
}

/** Runs a command of crio with the configuration of a lab, whose daemon may run or not. */
export async function crioOf(lab: Lab, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const [program = "", ...first] = crioCommand();
  const config = ["--config", `${lab.directory}/crio.conf`, "--config-dir", `${lab.directory}/crio.conf.d`];
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...first, ...config, ...args],
    env: { CONTAINERS_STORAGE_CONF: `${lab.directory}/storage.conf` },
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Runs `crio check` on the store of a lab, whose daemon may run or not. */
export async function checkStoreOf(lab: Lab, args: readonly string[] = []): Promise<StoreCheck> {
  const { out, err } = await crioOf(lab, "check", "--json", ...args);
  if (out === "") throw new Error(`crio check: ${err}`);
  return JSON.parse(out);
}

/** Each problem in words. */
export function problemsOf(check: StoreCheck): string[] {
  return check.problems.map(({ subject, kind, id, detail }) => `${subject} ${id}: ${kind}: ${detail}`);
}

/** podman on the store of a lab, beside its daemon. @throws Error with what it wrote to standard error */
export async function podmanOf(lab: Lab, ...args: string[]): Promise<string> {
  const { directory } = lab;
  const roots = ["--root", `${directory}/root`, "--runroot", `${directory}/runroot`, "--tmpdir", `${directory}/libpod`];
  const options = ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "/usr/sbin/runc"];
  const { code, stdout, stderr } = await new Deno.Command("podman", { args: [...roots, ...options, ...args] }).output();
  if (code !== 0) throw new Error(`podman ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout).trim();
}

/** Arguments of `podman run` for hosts that give few rights. */
export const PODMAN_RUN = [
  "run",
  "--rm",
  "--network",
  "none",
  "--ulimit",
  "nofile=1024:1024",
  "--ulimit",
  "nproc=1000:1000",
];

/** podman leaves mounts of its own in the store when it ran containers. */
export async function podmanDone(lab: Lab): Promise<void> {
  const text = await Deno.readTextFile("/proc/self/mountinfo");
  const left = text.split("\n").map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${lab.directory}/root/overlay-containers/`));
  for (const path of left) await new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).output();
}
