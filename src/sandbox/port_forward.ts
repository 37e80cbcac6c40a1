import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { FailedPreconditionError, messageOf, UnavailableError } from "../base/errors.ts";
import { connectLoopback } from "../linux/pod_socket.ts";
import type { SandboxRecord } from "./types.ts";

/** How long a listener in the pod may take to accept. */
const CONNECT_MS = 10_000;

/**
 * @throws FailedPreconditionError when the pod has no network to connect in
 */
export function checkForward(record: SandboxRecord): void {
  if (record.state === "ready") return;
  throw new FailedPreconditionError(`port-forward: pod sandbox ${record.id} is not ready`);
}

/**
 * Carries one connection between a client and a port of a pod, until both directions have ended, or one side is gone.
 *
 * @throws UnavailableError when nobody listens on the port; the pod's error when it resets the connection
 */
export async function forwardPort(
  record: SandboxRecord,
  client: Duplex,
  { port, signal }: { readonly port: number; readonly signal: AbortSignal },
): Promise<void> {
  checkForward(record);
  const pod = await dial(record, { port, signal });
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  const stop = (): void => void pod.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    pod.once("error", (error: Error) => {
      if (signal.aborted || client.destroyed) resolve();
      else reject(new UnavailableError(`connection to port ${port} of the pod broke: ${error.message}`));
    });
    // A side that has ended may still read: both have to end.
    pod.once("close", resolve);
    client.once("close", stop);
    client.pipe(pod);
    pod.pipe(client);
    await done;
  } finally {
    signal.removeEventListener("abort", stop);
    client.removeListener("close", stop);
    client.unpipe(pod);
    pod.destroy();
  }
}

async function dial(
  record: SandboxRecord,
  { port, signal }: { readonly port: number; readonly signal: AbortSignal },
): Promise<Socket> {
  const { network } = record.namespaces;
  // By hand: signals that are put together stay with a session that lives long and dials often.
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  const timer = setTimeout(() => stop.abort(new DOMException("nobody accepts", "TimeoutError")), CONNECT_MS);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await connectLoopback(port, {
      ...(network === undefined ? {} : { namespace: network }),
      signal: stop.signal,
    });
  } catch (cause) {
    signal.throwIfAborted();
    throw new UnavailableError(`cannot connect to port ${port} in pod sandbox ${record.id}: ${messageOf(cause)}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}
