/** The daemon's metrics after the life of some pods: the linter of Prometheus, the documentation and the kernel are asked. */
import assert from "node:assert/strict";
import { type ContainerConfig, ImageSpec, LinuxContainerResources } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { PROJECT_ROOT } from "./harness/crio.ts";
import { Lab } from "./harness/lab.ts";
import { exited, pidOf, PodUnderTest, procStatus, until } from "./harness/tries.ts";

const PREFIX = "container_runtime_crio_";
const CONFIG = '[crio.metrics]\nenable_metrics = true\n[crio.stats]\nincluded_pod_metrics = ["all"]\n';
const MEBI = 1024 * 1024;

/** What promtool says of names that are CRI-O's and stay: docs/metrics.md has them. */
const ODD = [
  `${PREFIX}containers_stopped_monitor_count counter metrics should have "_total" suffix`,
  `${PREFIX}containers_stopped_monitor_count non-histogram and non-summary metrics should not have "_count" suffix`,
  `${PREFIX}operations_latency_seconds_total non-counter metrics should not have "_total" suffix`,
  `${PREFIX}resources_stalled_at_stage counter metrics should have "_total" suffix`,
];

async function promtool(args: readonly string[], input = ""): Promise<{ code: number; text: string }> {
  const child = new Deno.Command("promtool", { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

async function scrape(): Promise<string> {
  return await (await fetch("http://127.0.0.1:9090/metrics")).text();
}

/** The value of the one series that begins so. */
function value(text: string, series: string): number {
  const line = text.split("\n").find((line) => line.startsWith(`${series} `));
  assert.ok(line !== undefined, `there is no ${series}`);
  return Number(line.slice(series.length));
}

/** Names in the first table of docs/metrics.md. */
async function documented(): Promise<string[]> {
  const text = await Deno.readTextFile(`${PROJECT_ROOT}/docs/metrics.md`);
  const [table = ""] = /^\| metric \|[^]*?\n\n/m.exec(text) ?? [];
  const names = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = ""]) => name);
  return names.map((name) => /^(?:process_(?!es_)|nodejs_)/.test(name) ? name : PREFIX + name).toSorted();
}

/** Brings about each thing that is counted. */
async function makeHistory(lab: Lab): Promise<{ pod: PodUnderTest; orphan: string }> {
  await lab.pull();
  const image = message(ImageSpec, { image: `${lab.registry.host}/bench/none:1` });
  await assert.rejects(lab.daemon.client.call("pullImage", { image }));
  const pod = await PodUnderTest.run(lab, "measured");
  const small = (config: ContainerConfig): void => {
    const memoryLimitInBytes = BigInt(24 * MEBI);
    const resources = { memoryLimitInBytes, memorySwapLimitInBytes: memoryLimitInBytes };
    if (config.linux !== undefined) config.linux.resources = message(LinuxContainerResources, resources);
  };
  const eat = `x=$(head -c ${40 * MEBI} /dev/zero | tr '\\0' x); sleep 1`;
  const greedy = await pod.start({ name: "greedy", command: ["/bin/sh", "-c", eat], change: small });
  assert.equal((await exited(lab, greedy)).reason, "OOMKilled");
  const brief = await PodUnderTest.run(lab, "brief");
  await brief.remove();
  const orphan = await pod.start({ name: "orphan" });
  const { "PPid": monitor = "" } = Object.fromEntries(await procStatus(await pidOf(lab, orphan)));
  Deno.kill(Number(monitor), "SIGKILL");
  // The same create twice: one of them joins the other.
  const request = pod.request({ name: "twice" });
  const [one, two] = await Promise.all([1, 2].map(() => lab.daemon.client.call("createContainer", request)));
  assert.deepEqual(one, two);
  return { pod, orphan };
}

Deno.test("metrics of the daemon: promtool, the documentation and the kernel agree with them", async (t) => {
  await using lab = await Lab.start({ extraConfig: CONFIG });
  const { pod, orphan } = await makeHistory(lab);
  const lost =
    `${PREFIX}containers_stopped_monitor_count{name="k8s_orphan_measured_default_${pod.config.metadata?.uid}_0"}`;
  const text = await until("the lost monitor to be noticed", async () => {
    const text = await scrape();
    return text.includes(lost) ? text : undefined;
  });

  await t.step("promtool complains of the names that are CRI-O's, and of nothing else", async () => {
    const { text: complaints } = await promtool(["check", "metrics"], text);
    assert.deepEqual(complaints.trim().split("\n").toSorted(), ODD.toSorted());
  });

  await t.step("promtool takes the alerts", async () => {
    const { code, text } = await promtool(["check", "rules", `${PROJECT_ROOT}/conf/alerts.yaml`]);
    assert.equal(code, 0, text);
  });

  await t.step("docs/metrics.md lists each of them, and no other", async () => {
    const served = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = ""]) => name).toSorted();
    assert.deepEqual(served, await documented());
  });

  await t.step("dashboard and alerts use what there is", async () => {
    const known = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = ""]) => name));
    for (const file of ["grafana-dashboard.json", "alerts.yaml"]) {
      const used = await Deno.readTextFile(`${PROJECT_ROOT}/conf/${file}`);
      for (const [name] of used.matchAll(/\b(?:container_runtime_crio|process|nodejs)_[a-z_]+/g)) {
        if (name === "process_") continue;
        assert.ok(known.has(name) || known.has(name.replace(/_(?:bucket|sum|count)$/, "")), `${file}: ${name}`);
      }
    }
  });

  await t.step("figures are those of the kernel", async () => {
    const { pid } = lab.daemon;
    const status = await procStatus(pid);
    const resident = 1024 * Number.parseInt(status.get("VmRSS") ?? "");
    const now = await scrape();
    assert.ok(Math.abs(value(now, "process_resident_memory_bytes") - resident) < 16 * MEBI);
    const files = (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
    assert.ok(Math.abs(value(now, "process_open_fds") - files) < 10, `${files}`);
    const limits = await Deno.readTextFile(`/proc/${pid}/limits`);
    assert.equal(value(now, "process_max_fds"), Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]));
    const fields = (await Deno.readTextFile(`/proc/${pid}/stat`)).split(") ")[1]?.split(" ").map(Number) ?? [];
    const ticks = (fields[11] ?? NaN) + (fields[12] ?? NaN);
    assert.ok(Math.abs(value(now, "process_cpu_seconds_total") - ticks / 100) < 1);
  });

  await t.step("what happened was counted", async () => {
    assert.equal(value(text, lost), 1);
    assert.match(text, /^container_runtime_crio_resources_stalled_at_stage\{stage="[^"]+"\} 1$/m);
    assert.ok(value(text, `${PREFIX}pull_process_starts_total`) >= 1);
    assert.ok(value(text, `${PREFIX}event_loop_delay_seconds_count`) > 4);
    for (const stage of ["sandbox network creation", "container runtime creation", "container runtime start"]) {
      const count = value(text, `${PREFIX}operations_stage_seconds_count{stage="${stage}"}`);
      assert.ok(count >= 2, `${stage}: ${count}`);
    }
    await lab.daemon.client.call("removeContainer", { containerId: orphan });
    assert.ok(!(await scrape()).includes(lost), "the series goes with its container");
  });
  await pod.remove();
  assert.deepEqual(await lab.leaks(), []);
});

Deno.test("metrics of the process that pulls: it is seen while it is there, and its unasked end is counted", async () => {
  await using lab = await Lab.start({ extraConfig: CONFIG });
  await lab.pull();
  const text = await scrape();
  assert.equal(value(text, `${PREFIX}pull_processes`), 1);
  const puller = lab.daemon.processes().find(({ argv }) => argv.at(-1) === "pull");
  assert.ok(puller !== undefined, "there is no process that pulls");
  const resident = 1024 * Number.parseInt((await procStatus(puller.pid)).get("VmRSS") ?? "");
  const told = value(text, `${PREFIX}pull_process_resident_memory_bytes`);
  assert.ok(Math.abs(told - resident) < 24 * MEBI, `${told} and ${resident}`);
  Deno.kill(puller.pid, "SIGKILL");
  await until("its end to be counted", async () => {
    const now = await scrape();
    return value(now, `${PREFIX}pull_process_failures_total`) === 1 && value(now, `${PREFIX}pull_processes`) === 0
      ? true
      : undefined;
  });
  await lab.pull();
});
