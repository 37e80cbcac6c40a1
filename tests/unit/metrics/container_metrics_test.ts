import { doesNotMatch, match } from "node:assert/strict";
import { Metrics, noMetrics } from "../../../src/metrics/metrics.ts";

Deno.test("ContainerMetrics counts dropped events, ends for want of memory and stalled requests", async () => {
  const metrics = await Metrics.create();
  const { containers } = metrics;
  containers.eventDropped();
  containers.eventDropped();
  containers.oomKilled("k8s_a");
  containers.oomKilled("k8s_b");
  containers.oomKilled("k8s_b");
  containers.stalled("container storage creation");
  containers.stalled("waiting for the pod network to be configured");
  containers.stalled("starting");
  const text = await metrics.text();
  match(text, /^container_runtime_crio_containers_events_dropped_total 2$/m);
  match(text, /^container_runtime_crio_containers_oom_total 3$/m);
  match(text, /^container_runtime_crio_containers_oom_count_total\{name="k8s_b"\} 2$/m);
  match(text, /^container_runtime_crio_resources_stalled_at_stage\{stage="container storage creation"\} 1$/m);
  match(text, /^container_runtime_crio_resources_stalled_at_stage\{stage="sandbox network ready"\} 1$/m);
  match(text, /^container_runtime_crio_resources_stalled_at_stage\{stage="unknown"\} 1$/m);
});

Deno.test("ContainerMetrics.containerRemoved() takes the label of a container away, and no other", async () => {
  const metrics = await Metrics.create();
  metrics.containers.oomKilled("k8s_a");
  metrics.containers.oomKilled("k8s_b");
  metrics.containers.containerRemoved("k8s_a");
  metrics.containers.containerRemoved("k8s_never");
  const text = await metrics.text();
  doesNotMatch(text, /k8s_a/);
  match(text, /oom_count_total\{name="k8s_b"\} 1$/m);
  match(text, /^container_runtime_crio_containers_oom_total 2$/m);
});

Deno.test("ContainerMetrics counts forbidden system calls by container and call, until the container is gone", async () => {
  const metrics = await Metrics.create();
  for (const call of ["mkdir", "mkdir", "chmod"]) metrics.containers.seccompNotified("k8s_a", call);
  const line = /^container_runtime_crio_containers_seccomp_notifier_count_total\{name="k8s_a",syscall="mkdir"\} 2$/m;
  match(await metrics.text(), line);
  metrics.containers.containerRemoved("k8s_a");
  doesNotMatch(await metrics.text(), /k8s_a/);
});

Deno.test("ContainerMetrics makes only the collectors that are named", async () => {
  const metrics = await Metrics.create({ collectors: ["containers_oom_total"] });
  metrics.containers.oomKilled("k8s_a");
  metrics.containers.containerRemoved("k8s_a");
  metrics.containers.stalled("container creating");
  const text = await metrics.text();
  match(text, /containers_oom_total 1$/m);
  doesNotMatch(text, /oom_count|stalled|dropped/);
});

Deno.test("noMetrics takes what happens to containers", () => {
  noMetrics.containers.eventDropped();
  noMetrics.containers.oomKilled("k8s_a");
  noMetrics.containers.containerRemoved("k8s_a");
  noMetrics.containers.stalled("container creating");
});

Deno.test("ContainerMetrics counts lost monitors by container, until it is gone", async () => {
  const metrics = await Metrics.create();
  metrics.containers.monitorLost("k8s_a");
  match(await metrics.text(), /^container_runtime_crio_containers_stopped_monitor_count\{name="k8s_a"\} 1$/m);
  metrics.containers.containerRemoved("k8s_a");
  doesNotMatch(await metrics.text(), /k8s_a/);
});

Deno.test("ContainerMetrics times stages by names that are known, whatever it is told", async () => {
  const metrics = await Metrics.create();
  metrics.containers.staged("sandbox files", 20);
  metrics.containers.staged("sandbox shm creation", 30);
  metrics.containers.staged("telling plugins", 4);
  metrics.containers.staged("made up", 4);
  const text = await metrics.text();
  const line = (rest: string): RegExp => new RegExp(`^container_runtime_crio_operations_stage_seconds_${rest}$`, "m");
  match(text, line('sum\\{stage="sandbox shm creation"\\} 0\\.05'));
  match(text, line('bucket\\{le="0\\.005",stage="telling plugins"\\} 1'));
  match(text, line('count\\{stage="other"\\} 1'));
});
