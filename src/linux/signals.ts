import { lazyLibc } from "./_libc.ts";

const libc = lazyLibc({ signal: { parameters: ["i32", "usize"], result: "usize" } });

const SIGUSR1 = 10;
const SIG_IGN = 1n;

/**
 * Makes SIGUSR1 do nothing, for good. Deno starts its inspector on 127.0.0.1:9229 on that signal, which would let any
 * process that reaches the node's loopback, a pod with the host's network included, run code as this daemon.
 *
 * To be called in the first statement of the program. Deno installs its handler half a second after the start, through
 * a registry that calls sigaction(2) only for the first listener of a signal. So a listener of ours goes in first, then
 * the disposition is set to ignore; Deno's later listener joins the registry entry, and the kernel never delivers to
 * it. Before this call SIGUSR1 has the kernel's default: it ends the process, but opens nothing.
 *
 * Idempotent. `Deno.addSignalListener("SIGUSR1")` has no effect afterwards; SIGUSR2 is free.
 */
export function shutInspectorSignal(): void {
  const placeholder = (): void => {};
  Deno.addSignalListener("SIGUSR1", placeholder);
  // FFI signal(2): sets a disposition, cannot block or fail for a valid signal number.
  libc().signal(SIGUSR1, SIG_IGN);
  Deno.removeSignalListener("SIGUSR1", placeholder);
}
