import type { Clock } from "../base/clock.ts";
import { SlicedReads } from "../base/sliced_reads.ts";
import { isErrno } from "../linux/errno.ts";
import { inNetworkNamespace } from "../linux/namespaces.ts";

/** Counters of one network interface, as the pod sees it. */
export interface InterfaceStats {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** All interfaces of a network namespace but `lo`, at one moment. */
export interface NetworkStats {
  /** When they were read, nanoseconds since the epoch. */
  readonly atNanos: bigint;
  readonly interfaces: readonly InterfaceStats[];
}

/** Callers share what was read within this time. */
const MAX_AGE_MS = 1000;
const COUNTERS = 12;

/**
 * Reads interface counters inside pinned network namespaces, each at most once a second, whoever asks. One read takes
 * about 20 us of the calling thread, which enters the namespace for it: no process of the pod is needed, and none can be
 * taken for another.
 */
export class InterfaceStatsReader {
  readonly #reads: SlicedReads<string, NetworkStats>;

  /** @param options.maxAgeMs how old figures may be; default 1000 */
  constructor(clock: Clock, { maxAgeMs = MAX_AGE_MS }: { readonly maxAgeMs?: number } = {}) {
    this.#reads = new SlicedReads<string, NetworkStats>({
      clock,
      maxAgeMs,
      read: (namespace) => readInterfaces(namespace, clock),
    });
  }

  /**
   * @param namespace path of the pin
   * @returns undefined when there is no such namespace (any more)
   */
  async read(namespace: string, options: { signal?: AbortSignal } = {}): Promise<NetworkStats | undefined> {
    return await this.#reads.get(namespace, options);
  }
}

function readInterfaces(namespace: string, clock: Clock): NetworkStats | undefined {
  try {
    // Synchronous, so it runs on this thread; `thread-self`, because `self` is the namespace of the first thread.
    const text = inNetworkNamespace(namespace, () => Deno.readTextFileSync("/proc/thread-self/net/dev"));
    return { atNanos: clock.nowNanos(), interfaces: parseInterfaces(text) };
  } catch (error) {
    // EINVAL: the pin is gone, and a plain file is in its place.
    if (isErrno(error, "ENOENT", "EINVAL")) return undefined;
    throw error;
  }
}

/** Parses `/proc/net/dev`, proc(5), without `lo`; lines that are none are left out. */
export function parseInterfaces(text: string): InterfaceStats[] {
  const interfaces: InterfaceStats[] = [];
  for (const line of text.split("\n").slice(2)) {
    // A name may hold a colon (alias); the counters never do.
    const colon = line.lastIndexOf(":");
    const name = line.slice(0, colon).trim();
    const counters = line.slice(colon + 1).trim().split(/\s+/).map(Number);
    if (colon < 1 || name === "" || name === "lo") continue;
    if (counters.length < COUNTERS || !counters.every(Number.isSafeInteger)) continue;
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0] = counters;
    const [txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = counters.slice(8);
    interfaces.push({ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped });
  }
  return interfaces;
}
