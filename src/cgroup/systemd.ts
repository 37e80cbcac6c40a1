import { commandResult } from "../linux/command.ts";
import { type ErrorKind, PodError } from "../base/errors.ts";

/** systemd refused a request, or could not be asked. */
export class SystemdError extends PodError {
  override readonly kind: ErrorKind = "unavailable";
}

const BUSCTL = "/usr/bin/busctl";
const MANAGER = [
  "org.freedesktop.systemd1",
  "/org/freedesktop/systemd1",
  "org.freedesktop.systemd1.Manager",
] as const;

export interface ScopeOptions {
  /** Name with `.scope`. */
  readonly unit: string;
  /** Name with `.slice`. */
  readonly slice: string;
  readonly pid: number;
  readonly signal?: AbortSignal;
  /** Default `/usr/bin/busctl`. */
  readonly busctl?: string;
}

/**
 * Has systemd make a scope unit and move one process into it (D-Bus `StartTransientUnit`).
 *
 * @throws SystemdError when systemd refuses, or there is no busctl
 */
export async function startScope(options: ScopeOptions): Promise<void> {
  const { unit, slice, pid } = options;
  const properties = ["3", "PIDs", "au", "1", String(pid), "Slice", "s", slice, "DefaultDependencies", "b", "false"];
  await call(["StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", ...properties, "0"], options);
}

/**
 * Has systemd stop a unit and forget it. Absent is fine.
 *
 * @throws SystemdError when systemd refuses
 */
export async function stopUnit(options: Pick<ScopeOptions, "unit" | "signal" | "busctl">): Promise<void> {
  try {
    await call(["StopUnit", "ss", options.unit, "replace"], options);
  } catch (error) {
    if (!(error instanceof SystemdError) || !/not loaded|NoSuchUnit/.test(error.message)) throw error;
  }
}

async function call(
  method: readonly string[],
  options: Pick<ScopeOptions, "unit" | "signal" | "busctl">,
): Promise<void> {
  const { signal, busctl = BUSCTL, unit } = options;
  const argv = [busctl, "--quiet", "call", ...MANAGER, ...method];
  try {
    const result = await commandResult(argv, signal === undefined ? {} : { signal });
    if (result.exitCode === 0) return;
    const text = new TextDecoder().decode(result.stderr).trim();
    throw new SystemdError(`systemd ${method[0]} ${unit}: ${text === "" ? `exit code ${result.exitCode}` : text}`);
  } catch (error) {
    if (error instanceof SystemdError || signal?.aborted === true) throw error;
    throw new SystemdError(`systemd ${method[0]} ${unit}: cannot run ${busctl}; install systemd's busctl`, {
      cause: error,
    });
  }
}
