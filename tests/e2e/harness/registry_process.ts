import { PROJECT_ROOT } from "./crio.ts";

/** A registry in a process of its own. */
export interface RegistryProcess extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
  readonly pid: number;
}

export interface RegistryOptions {
  /** Where the large images of the benchmark are kept; they are served only when this is given. */
  readonly pullImagesCacheDir?: string;
  /** Runs on after this process, until somebody kills it. */
  readonly stay?: boolean;
}

/**
 * Starts a plain-HTTP registry with `bench/busybox:1` and `bench/pause:1`.
 *
 * @throws Error when it says nothing
 */
export async function startRegistry(options: RegistryOptions = {}): Promise<RegistryProcess> {
  const script = `${PROJECT_ROOT}/tests/e2e/harness/registry_main.ts`;
  const args = [Deno.execPath(), "run", "-A", "--no-check", script];
  if (options.pullImagesCacheDir !== undefined) args.push("--pull-images", options.pullImagesCacheDir);
  if (options.stay === true) args.push("--stay");
  const child = new Deno.Command("setsid", {
    args,
    cwd: PROJECT_ROOT,
    stdin: options.stay === true ? "null" : "piped",
    stdout: "piped",
    // One that stays must not keep the caller's pipe open: whoever reads it would wait for ever.
    stderr: options.stay === true ? "null" : "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  if (value === undefined) throw new Error("the registry process ended before it listened");
  return {
    host: new TextDecoder().decode(value).trim(),
    pid: child.pid,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      if (options.stay === true) return;
      await child.stdin.close();
      await child.status;
    },
  };
}
