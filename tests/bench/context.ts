import type { CriDaemon } from "../e2e/harness/daemon.ts";
import type { PodWish } from "../e2e/harness/pods.ts";
import type { PeerName } from "./peers.ts";

/** Samples by measure and peer. */
export class Results {
  readonly samples = new Map<string, Map<PeerName, number[]>>();

  add(measure: string, peer: PeerName, value: number): void {
    const byPeer = this.samples.get(measure) ?? new Map<PeerName, number[]>();
    byPeer.set(peer, [...byPeer.get(peer) ?? [], value]);
    this.samples.set(measure, byPeer);
  }
}

/** How much is measured: everything is bounded by these numbers. */
export interface Effort {
  readonly rounds: number;
  readonly aloneCycles: number;
  readonly workers: number;
  readonly cyclesPerWorker: number;
  readonly execs: number;
  readonly lists: number;
  readonly starts: number;
  readonly pods: number;
  readonly settleMs: number;
}

export const FULL: Effort = {
  rounds: 2,
  aloneCycles: 12,
  workers: 8,
  cyclesPerWorker: 4,
  execs: 30,
  lists: 1000,
  starts: 3,
  pods: 50,
  settleMs: 10_000,
};

export const QUICK: Effort = {
  rounds: 1,
  aloneCycles: 4,
  workers: 8,
  cyclesPerWorker: 1,
  execs: 8,
  lists: 50,
  starts: 1,
  pods: 10,
  settleMs: 1000,
};

/** One peer as a measure sees it. */
export interface Subject {
  readonly peer: PeerName;
  readonly daemon: CriDaemon;
  readonly results: Results;
  readonly effort: Effort;
  /** Image of the containers. */
  readonly image: string;
  /** `127.0.0.1:port` of the registry that has the images of `pull_images.ts`. */
  readonly registryHost: string;
  /** For temporary files. */
  readonly workDir: string;
  readonly cgroupParent: string;
  readonly round: number;
}

let serial = 0;

/** A pod with a name that was not used before. */
export function nextPod(subject: Subject, options: { hostNetwork?: boolean } = {}): PodWish {
  serial++;
  return {
    name: `bench-${serial}`,
    logDirectory: `${subject.daemon.spec.directory}/pods`,
    cgroupParent: subject.cgroupParent,
    hostNetwork: options.hostNetwork ?? false,
  };
}

/** Runs `work`, adds its milliseconds to a measure, gives its result. */
export async function timed<T>(subject: Subject, measure: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await work();
  subject.results.add(measure, subject.peer, performance.now() - startMs);
  return result;
}

/** Does the same `count` times at once. */
export async function inParallel(count: number, work: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, work));
}

export function mib(bytes: number): number {
  return bytes / 2 ** 20;
}
