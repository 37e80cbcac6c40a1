import type { Results } from "./context.ts";
import { PEER_NAMES, type PeerName } from "./peers.ts";
import { median, percentile } from "./statistics.ts";

/** The most that crio may need, as a share of containerd's figure in the same run. */
interface Bar {
  readonly measure: string;
  readonly runc: number;
  readonly crun: number;
}

const BARS: readonly Bar[] = [
  { measure: "pod + container to running", runc: 0.65, crun: 0.5 },
  { measure: "pod + container to running, 8 at once", runc: 0.6, crun: 0.4 },
  { measure: "ExecSync true", runc: 1, crun: 0.5 },
  { measure: "StopPodSandbox", runc: 0.6, crun: 0.6 },
  { measure: "ListContainerStats, 50 pods", runc: 0.2, crun: 0.2 },
  { measure: "PullImage realistic, wall s", runc: 0.4, crun: 0.4 },
  { measure: "PullImage realistic, CPU s", runc: 0.55, crun: 0.55 },
  { measure: "PullImage one layer of 500 MB, wall s", runc: 0.6, crun: 0.6 },
  { measure: "PullImage 10 at once, wall s", runc: 0.4, crun: 0.4 },
  { measure: "Version + ListContainers during 10 pulls, p99", runc: 1, crun: 1 },
  { measure: "restart with 50 pods to all listed (SIGTERM)", runc: 1.5, crun: 1.5 },
  { measure: "daemon + monitors PSS with 50 pods, MiB", runc: 0.5, crun: 0.5 },
];

/** The most that a figure of crio may be. */
const OWN_BARS: readonly { readonly measure: string; readonly limit: number; readonly unit: string }[] = [
  { measure: "daemon PSS idle, MiB", limit: 65, unit: " MiB" },
  { measure: "PullImage realistic, times curl | tar", limit: 1.6, unit: "x" },
  { measure: "PullImage realistic zstd, times gzip", limit: 1, unit: "x" },
  { measure: "daemon PSS after 20 pulls, times before", limit: 1.1, unit: "x" },
];
const REFERENCE: PeerName = "containerd";

/** The table of all measures (p50, p95 and the ratio to containerd), then each bar and whether it holds. */
export function textReport(results: Results): string {
  const peers = PEER_NAMES.filter((peer) => [...results.samples.values()].some((byPeer) => byPeer.has(peer)));
  const rows = [["measure (ms unless said)", ...peers.flatMap((peer) => [peer, "p95", ...ratioTitle(peer)])]];
  for (const [measure, byPeer] of results.samples) {
    const reference = median(byPeer.get(REFERENCE) ?? []);
    rows.push([
      measure,
      ...peers.flatMap((peer) => {
        const samples = byPeer.get(peer) ?? [];
        const cells = [figure(median(samples)), samples.length > 3 ? figure(percentile(samples, 0.95)) : ""];
        return peer === REFERENCE ? cells : [...cells, ratio(median(samples) / reference)];
      }),
    ]);
  }
  return `${aligned(rows)}\n\n${bars(results)}`;
}

/** The same as data. */
export function jsonReport(results: Results, about: Readonly<Record<string, unknown>>): string {
  const measures = Object.fromEntries(
    [...results.samples].map(([measure, byPeer]) => [
      measure,
      Object.fromEntries(
        [...byPeer].map(([peer, samples]) => [
          peer,
          { p50: median(samples), p95: percentile(samples, 0.95), samples: samples.map((value) => round(value)) },
        ]),
      ),
    ]),
  );
  return `${JSON.stringify({ ...about, measures }, undefined, 2)}\n`;
}

function bars(results: Results): string {
  const lines: string[] = [];
  for (const { measure, runc, crun } of BARS) {
    const byPeer = results.samples.get(measure);
    const reference = median(byPeer?.get(REFERENCE) ?? []);
    for (const [peer, limit] of [["crio-runc", runc], ["crio-crun", crun]] as const) {
      const value = median(byPeer?.get(peer) ?? []) / reference;
      if (!Number.isNaN(value)) lines.push(verdict(`${measure} (${peer})`, { value, limit, unit: "x" }));
    }
  }
  for (const { measure, limit, unit } of OWN_BARS) {
    for (const peer of ["crio-runc", "crio-crun"] as const) {
      const value = median(results.samples.get(measure)?.get(peer) ?? []);
      if (!Number.isNaN(value)) lines.push(verdict(`${measure} (${peer})`, { value, limit, unit }));
    }
  }
  return lines.length === 0 ? "no bar to compare with: crio and containerd were not both measured" : lines.join("\n");
}

function verdict(what: string, options: { value: number; limit: number; unit: string }): string {
  const { value, limit, unit } = options;
  return `${value <= limit ? "ok  " : "MISS"} ${what}: ${figure(value)}${unit}, at most ${limit}${unit}`;
}

function ratioTitle(peer: PeerName): string[] {
  return peer === REFERENCE ? [] : ["ratio"];
}

function ratio(value: number): string {
  return Number.isNaN(value) ? "" : `${value.toFixed(2)}x`;
}

function figure(value: number): string {
  if (Number.isNaN(value)) return "-";
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)).join("  ").trimEnd();
  return rows.map(line).join("\n");
}
