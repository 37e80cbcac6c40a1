import { doesNotMatch, match, ok } from "node:assert/strict";
import { sampleEventLoop } from "../../../src/metrics/event_loop.ts";
import { Metrics } from "../../../src/metrics/metrics.ts";
import type { ProcessProbes } from "../../../src/metrics/process_metrics.ts";

function probes(change: Partial<ProcessProbes> = {}): ProcessProbes {
  return {
    self: () => Promise.resolve({ cpuSeconds: 1.5, openFiles: 9, maxOpenFiles: 99, residentBytes: 7, virtualBytes: 8 }),
    zombies: () => Promise.resolve(3),
    residentBytes: (pid) => Promise.resolve(pid === 11 ? undefined : pid * 100),
    ...change,
  };
}

Deno.test("ProcessMetrics shows what the kernel says of the daemon at a scrape", async () => {
  let cpuSeconds = 1.5;
  const metrics = await Metrics.create({
    probes: probes({ self: () => Promise.resolve({ cpuSeconds, openFiles: 9 }) }),
  });
  match(await metrics.text(), /^process_cpu_seconds_total 1\.5$/m);
  cpuSeconds = 2.25;
  const text = await metrics.text();
  for (const line of ["process_cpu_seconds_total 2.25", "process_open_fds 9"]) ok(text.includes(`\n${line}\n`), line);
  match(text, /^container_runtime_crio_processes_defunct 3$/m);
  match(text, /^nodejs_heap_size_used_bytes \d{6,}$/m);
});

Deno.test("ProcessMetrics counts processes that pull, their jobs and their memory, and those that ended unasked", async () => {
  const metrics = await Metrics.create({ probes: probes() });
  const { pullProcesses } = metrics;
  for (const pid of [10, 11, 12]) pullProcesses.started(pid);
  pullProcesses.jobs(1);
  pullProcesses.jobs(1);
  pullProcesses.jobs(-1);
  pullProcesses.ended(12, { asked: true });
  const text = await metrics.text();
  const expected = {
    pull_process_starts_total: 3,
    pull_process_failures_total: 0,
    pull_processes: 2,
    pull_process_jobs: 1,
    // Number 11 is gone, and nobody has noticed yet.
    pull_process_resident_memory_bytes: 1000,
  };
  for (const [name, value] of Object.entries(expected)) {
    match(text, new RegExp(`^container_runtime_crio_${name} ${value}$`, "m"));
  }
  pullProcesses.ended(10, { asked: false });
  match(await metrics.text(), /^container_runtime_crio_pull_process_failures_total 1$/m);
});

Deno.test("ProcessMetrics counts no zombies where nobody wants them", async () => {
  const zombies = (): never => {
    throw new Error("nobody asked for them");
  };
  const metrics = await Metrics.create({ collectors: ["operations_total"], probes: probes({ zombies }) });
  doesNotMatch(await metrics.text(), /processes_defunct/);
});

Deno.test("sampleEventLoop() tells how long a timer had to wait for the thread", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  using _sampling = sampleEventLoop(resolve);
  const untilMs = performance.now() + 750;
  while (performance.now() < untilMs) { /* holds the thread up */ }
  const delaySeconds = await promise;
  ok(delaySeconds > 0.45 && delaySeconds < 5, `${delaySeconds}`);
});

Deno.test("Metrics.watchEventLoop() fills the histogram of delays", async () => {
  const metrics = await Metrics.create({ probes: probes() });
  using _watching = metrics.watchEventLoop();
  const count = async (): Promise<number> =>
    Number(/event_loop_delay_seconds_count (\d+)/.exec(await metrics.text())?.[1]);
  while (await count() < 1) await new Promise((resolve) => setTimeout(resolve, 20));
  match(await metrics.text(), /^nodejs_eventloop_lag_seconds \d/m);
});
