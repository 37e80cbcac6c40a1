import { deepEqual, equal } from "node:assert/strict";
import { containerLines, imageLines, podLines } from "../../../src/cli/status_tables.ts";
import { age, binarySize, decimalSize, tableLines } from "../../../src/cli/table.ts";
import { type PodFigures, ratesOf, topLines } from "../../../src/cli/top_lines.ts";

const MIB = 1024 * 1024;

function figures(name: string, at: number, change: Partial<PodFigures> = {}): PodFigures {
  const times = { at_nanoseconds: at * 1e9, cpu_nanoseconds: 0 };
  return { id: name, name, namespace: "ns", containers: 1, memory_working_set: MIB, processes: 3, ...times, ...change };
}

const reading = (...pods: PodFigures[]) => ({ at: "2026-11-28T12:00:00Z", cpus: 4, pods });

Deno.test("ratesOf() makes rates of two readings, and none where a counter began anew or a pod is new", () => {
  const network = (at: number, bytes: number) => ({ at_nanoseconds: at * 1e9, rx_bytes: bytes, tx_bytes: 2 * bytes });
  const before = reading(
    figures("busy", 10, { cpu_nanoseconds: 5e9, network: network(10, 1000) }),
    figures("anew", 10, { cpu_nanoseconds: 5e9 }),
  );
  const now = reading(
    figures("new", 12, { cpu_nanoseconds: 9e9 }),
    figures("anew", 12),
    figures("busy", 12, { cpu_nanoseconds: 8e9, memory_working_set: MIB / 2, network: network(12, 5000) }),
  );
  const rates = ratesOf(now, before, "cpu");
  deepEqual(rates.map(({ name, cpu_percent }) => [name, cpu_percent]), [["busy", 150], ["new", undefined], [
    "anew",
    undefined,
  ]]);
  deepEqual([rates[0]?.rx_bytes_per_second, rates[0]?.tx_bytes_per_second], [2000, 4000]);
  deepEqual(ratesOf(now, before, "name").map(({ name }) => name), ["anew", "busy", "new"]);
  equal(ratesOf(now, before, "memory").at(-1)?.name, "busy");
  deepEqual(topLines(now, rates).slice(0, 3), [
    "3 pods, 150.0 % of 4 CPUs, 2.5 MiB memory, at 12:00:00 UTC",
    "CPU %     MEMORY     RX/s     TX/s  PROCS  CTRS  POD",
    "150.0  512.0 KiB  2.0 KiB  3.9 KiB      3     1  ns/busy",
  ]);
});

Deno.test("tables cut ids, count running containers and cannot move the cursor", () => {
  const base = { namespace: "ns", attempt: 0, created_at: "2026-11-28T11:00:00Z", image: "busybox" };
  const pod = { ...base, id: "a".repeat(64), name: "p\x1b[2J", state: "ready", ip_addresses: ["10.0.0.1"] };
  const containers = [
    { ...base, id: "b".repeat(64), name: "c", state: "running" },
    { ...base, id: "d".repeat(64), name: "e", state: "exited", exit_code: 137, oom_killed: true },
  ];
  const nowMs = Date.parse("2026-11-28T12:00:00Z");
  const pods = [{ ...pod, host_network: false, containers }];
  deepEqual(podLines(pods, nowMs).map((line) => line.split(/ {2,}/)), [
    ["POD ID", "NAMESPACE", "NAME", "STATE", "AGE", "RUNNING", "IP"],
    ["aaaaaaaaaaaaa", "ns", "p?[2J", "ready", "60m", "1/2", "10.0.0.1"],
  ]);
  equal(containerLines(pods, nowMs)[2]?.split(/ {2,}/)[3], "exited (137, out of memory)");
  const image = { id: "f".repeat(64), names: [], digests: ["x@sha256:1"], size: 1_234_567, pinned: true, in_use: true };
  equal(imageLines([image])[1], "x@sha256:1  fffffffffffff  1.2 MB  in use, pinned");
});

Deno.test("sizes and ages read well", () => {
  deepEqual([0, 999, 1000, 999_960, 1_500_000].map(decimalSize), ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 MB"]);
  deepEqual([1023, 1024, MIB - 1, 3 * MIB].map(binarySize), ["1023 B", "1.0 KiB", "1.0 MiB", "3.0 MiB"]);
  const at = (seconds: number): string =>
    age("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:00:00Z") + seconds * 1000);
  deepEqual([-5, 119, 120, 7199, 7200, 172_800].map(at), ["0s", "119s", "2m", "119m", "2h", "2d"]);
  deepEqual(tableLines([{ title: "A" }, { title: "B", right: true }], []), ["A  B"]);
});
