import assert from "node:assert/strict";
import { type ContainerConfig, LinuxContainerResources, type Metric } from "../../src/cri/gen/api.ts";
import { KernelCgroup, keyed, near } from "./harness/kernel_cgroup.ts";
import { message } from "./harness/cri_client.ts";
import { Crictl } from "./harness/crictl.ts";
import { Lab } from "./harness/lab.ts";
import { execText, exited, pidOf, PodUnderTest, until } from "./harness/tries.ts";

const MEBI = 1024 * 1024;
const BASE = ["id", "image", "namespace", "pod", "container"];
const CONFIG = '[crio.stats]\nincluded_pod_metrics = ["all"]\n[crio.metrics]\nenable_metrics = true\n';

/** Takes 50 MiB, listens, writes 4 MiB to the disk, then waits. */
const BUSY = `x=$(head -c ${50 * MEBI} /dev/zero | tr '\\0' x); /bin/busybox nc -l -p 7777 & ` +
  `/bin/busybox dd if=/dev/zero of=/data bs=1M count=4 conv=fsync 2>/dev/null; touch /done; sleep 100000; :`;

const LIMITS = message(LinuxContainerResources, {
  cpuPeriod: 100_000n,
  cpuQuota: 80_000n,
  cpuShares: 512n,
  memoryLimitInBytes: BigInt(128 * MEBI),
  memorySwapLimitInBytes: BigInt(128 * MEBI),
});

/** The metrics of one container or pod, and what the kernel says of it. */
class Seen {
  constructor(private readonly metrics: readonly Metric[], private readonly keys: ReadonlyMap<string, string[]>) {}

  /** Of the one series whose further labels begin with these values. */
  value(name: string, ...labels: string[]): number {
    const fitting = this.metrics.filter((metric) =>
      metric.name === `container_${name}` && labels.every((label, at) => metric.labelValues[BASE.length + at] === label)
    );
    assert.equal(fitting.length, 1, `${name}{${labels}}: ${fitting.length} series`);
    return Number(fitting[0]?.value?.value);
  }

  has(name: string): boolean {
    return this.metrics.some((metric) => metric.name === `container_${name}`);
  }

  /** Each has a descriptor, as many values as that has keys, a time of now, and comes once. */
  check(base: readonly string[]): void {
    const series = new Set<string>();
    for (const { name, labelValues, timestamp, value } of this.metrics) {
      assert.deepEqual(labelValues.length, this.keys.get(name)?.length, name);
      assert.deepEqual(labelValues.slice(0, BASE.length), base, name);
      const ageMs = Date.now() - Number(timestamp / 1_000_000n);
      assert.ok(ageMs < 3000, `${name} is ${ageMs} ms old`);
      assert.notEqual(value, undefined, name);
      const key = JSON.stringify([name, labelValues]);
      assert.ok(!series.has(key), key);
      series.add(key);
    }
  }
}

async function see(lab: Lab, podId: string): Promise<{ pod: Seen; containers: Map<string, Seen> }> {
  const { descriptors } = await lab.daemon.client.call("listMetricDescriptors", {});
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
  const { podMetrics } = await lab.daemon.client.call("listPodSandboxMetrics", {});
  const own = podMetrics.find(({ podSandboxId }) => podSandboxId === podId);
  assert.ok(own !== undefined, "the pod has no metrics");
  const containers = own.containerMetrics.map(({ containerId, metrics }) =>
    [containerId, new Seen(metrics, keys)] as const
  );
  return { pod: new Seen(own.metrics, keys), containers: new Map(containers) };
}

/** Open files of all processes of a container, and those of them that are sockets. */
async function openFiles(cgroup: KernelCgroup): Promise<{ processes: number; files: number; sockets: number }> {
  const pids = (await cgroup.read("pids", { v1: "cgroup.procs", v2: "cgroup.procs" })).split("\n");
  let [files, sockets] = [0, 0];
  for (const pid of pids) {
    for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
      files += 1;
      if ((await Deno.readLink(`/proc/${pid}/fd/${name}`)).startsWith("socket:")) sockets += 1;
    }
  }
  return { processes: pids.length, files, sockets };
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: metrics of pods are what the kernel says`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime, extraConfig: CONFIG });
    const { client } = lab.daemon;
    await lab.pull();
    const pod = await PodUnderTest.run(lab, "measured");
    const change = (config: ContainerConfig): void => {
      if (config.linux !== undefined) config.linux.resources = LIMITS;
    };
    const containerId = await pod.start({ name: "main", command: ["/bin/sh", "-c", BUSY], change });
    await until(
      "the container to be busy",
      async () => await execText(lab, containerId, "ls", "/done") === "/done" ? true : undefined,
    );
    const pid = await pidOf(lab, containerId);
    const cgroup = await KernelCgroup.of(pid);

    await t.step("labels fit their descriptors, and each series comes once", async () => {
      const { pod: own, containers } = await see(lab, pod.id);
      own.check([pod.id, "", "default", "measured", "POD"]);
      containers.get(containerId)?.check([containerId, lab.image, "default", "measured", "main"]);
    });

    await t.step("CPU, memory and pressure", async () => {
      const seen = (await see(lab, pod.id)).containers.get(containerId);
      assert.ok(seen !== undefined);
      assert.ok(seen.value("memory_rss") > 45 * MEBI);
      const usage = Number(await cgroup.read("memory", { v1: "memory.usage_in_bytes", v2: "memory.current" }));
      near(seen.value("memory_usage_bytes"), usage, 4 * MEBI);
      const stat = await cgroup.read("memory", { v1: "memory.stat", v2: "memory.stat" });
      near(seen.value("memory_cache"), keyed(stat, cgroup.isUnified ? "file" : "total_cache"), MEBI);
      assert.ok(seen.value("memory_working_set_bytes") <= usage + 4 * MEBI);
      assert.ok(seen.value("memory_max_usage_bytes") >= 50 * MEBI);
      assert.ok(seen.value("memory_failures_total", "pgfault", "hierarchy") > 1000);
      const cpu = await cgroup.read("cpu", { v1: "cpu.stat", v2: "cpu.stat" });
      near(seen.value("cpu_cfs_periods_total"), keyed(cpu, "nr_periods"), 30);
      near(seen.value("cpu_cfs_throttled_periods_total"), keyed(cpu, "nr_throttled"), 30);
      assert.equal(seen.value("spec_memory_limit_bytes"), 128 * MEBI);
      assert.equal(seen.value("spec_memory_swap_limit_bytes"), 128 * MEBI);
      assert.deepEqual(["period", "quota", "shares"].map((key) => seen.value(`spec_cpu_${key}`)), [
        100_000,
        80_000,
        512,
      ]);
      assert.ok(Math.abs(seen.value("start_time_seconds") - Date.now() / 1000) < 60);
      assert.equal(seen.has("pressure_memory_waiting_seconds_total"), cgroup.isUnified);
    });

    await t.step("processes, threads, open files and sockets", async () => {
      const seen = (await see(lab, pod.id)).containers.get(containerId);
      const real = await openFiles(cgroup);
      assert.equal(seen?.value("processes"), real.processes);
      assert.equal(seen?.value("file_descriptors"), real.files);
      assert.equal(seen?.value("sockets"), real.sockets);
      assert.ok(real.sockets >= 1);
      const threads = await cgroup.read("pids", { v1: "pids.current", v2: "pids.current" });
      assert.equal(seen?.value("threads"), Number(threads));
      const limits = await Deno.readTextFile(`/proc/${pid}/limits`);
      assert.equal(seen?.value("ulimits_soft", "max_open_files"), Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]));
    });

    await t.step("the network, as the pod sees it", async () => {
      const { pod: own } = await see(lab, pod.id);
      const dev = await Deno.readTextFile(`/proc/${pid}/net/dev`);
      const eth0 = /^\s*eth0:\s*(.*)$/m.exec(dev)?.[1]?.trim().split(/\s+/).map(Number) ?? [];
      near(own.value("network_receive_bytes_total", "eth0"), eth0[0] ?? NaN, 2000);
      near(own.value("network_receive_packets_total", "eth0"), eth0[1] ?? NaN, 20);
      near(own.value("network_transmit_bytes_total", "eth0"), eth0[8] ?? NaN, 2000);
      assert.ok(own.value("network_transmit_packets_total", "eth0") > 0);
    });

    await t.step("the disk and what was written to it", async () => {
      const seen = await until("the layer to be measured", async () => {
        const now = (await see(lab, pod.id)).containers.get(containerId);
        return now?.has("fs_usage_bytes") === true && now.value("fs_usage_bytes") >= 4 * MEBI ? now : undefined;
      });
      const { stdout } = await new Deno.Command("stat", { args: ["-f", "-c", "%c %b %S", `${lab.directory}/root`] })
        .output();
      const [inodes, blocks, size] = new TextDecoder().decode(stdout).trim().split(" ").map(Number);
      assert.equal(seen.value("fs_inodes_total"), inodes);
      assert.equal(seen.value("fs_limit_bytes"), Number(blocks) * Number(size));
      const files = { v1: "blkio.throttle.io_service_bytes_recursive", v2: "io.stat" };
      const text = await cgroup.read("blkio", files).catch(() => "");
      const written = [...text.matchAll(/^(\d+:\d+) (?:Write (\d+)|.*wbytes=(\d+))/gm)];
      for (const [, device = "", v1, v2] of written) {
        const [major = "", minor = ""] = device.split(":");
        const node = await Deno.readLink(`/sys/dev/block/${device}`).then((path) => `/dev/${path.split("/").pop()}`);
        assert.equal(seen.value("fs_writes_bytes_total", node), Number(v1 ?? v2));
        assert.equal(seen.value("blkio_device_usage_total", node, major, minor, "write"), Number(v1 ?? v2));
      }
    });

    await t.step("ends for want of memory are counted, and gone with their container", async () => {
      const small = (config: ContainerConfig): void => {
        const memoryLimitInBytes = BigInt(24 * MEBI);
        const resources = { memoryLimitInBytes, memorySwapLimitInBytes: memoryLimitInBytes };
        if (config.linux !== undefined) config.linux.resources = message(LinuxContainerResources, resources);
      };
      const eat = `x=$(head -c ${40 * MEBI} /dev/zero | tr '\\0' x)`;
      const greedy = await pod.start({ name: "greedy", command: ["/bin/sh", "-c", `${eat}; sleep 1`], change: small });
      const command = ["/bin/sh", "-c", `(${eat}); touch /done; sleep 100000; :`];
      const patient = await pod.start({ name: "patient", command, change: small });
      assert.equal((await exited(lab, greedy)).reason, "OOMKilled");
      // Not asked by exec: a process that enters the full cgroup may be the one that the kernel kills.
      const root = `/proc/${await pidOf(lab, patient)}/root`;
      await until("the other to survive", async () => {
        return await Deno.lstat(`${root}/done`).then(() => true, () => undefined);
      });
      const other = await KernelCgroup.of(await pidOf(lab, patient));
      const kills = keyed(await other.read("memory", { v1: "memory.oom_control", v2: "memory.events" }), "oom_kill");
      assert.ok(kills >= 1, `${kills}`);
      const { containers } = await see(lab, pod.id);
      assert.equal(containers.get(patient)?.value("oom_events_total"), kills);
      assert.equal(containers.get(containerId)?.value("oom_events_total"), 0);
      assert.ok(!containers.has(greedy));
      const scrape = async (): Promise<string> => await (await fetch("http://127.0.0.1:9090/metrics")).text();
      const count = /containers_oom_count_total\{name="k8s_greedy_measured_default_[^"]*"\} 1$/m;
      assert.match(await scrape(), count);
      assert.match(await scrape(), /containers_oom_total 1$/m);
      await client.call("removeContainer", { containerId: greedy });
      assert.doesNotMatch(await scrape(), /k8s_greedy/);
      assert.match(await scrape(), /containers_oom_total 1$/m);
    });

    await t.step("metrics go with the pod", async () => {
      await client.call("removePodSandbox", { podSandboxId: pod.id });
      assert.deepEqual((await client.call("listPodSandboxMetrics", {})).podMetrics, []);
    });
    assert.deepEqual(await lab.leaks(), []);
  });
}

Deno.test({ name: "crictl metricdescs and metricsp", ignore: !await Crictl.isAvailable() }, async () => {
  await using lab = await Lab.start({ extraConfig: CONFIG });
  const crictl = await Crictl.for(lab.daemon.spec.socketPath);
  const { descriptors } = await crictl.json("metricdescs") as { descriptors: Array<{ name: string; help: string }> };
  assert.equal(new Set(descriptors.map(({ name }) => name)).size, 56);
  assert.ok(descriptors.every(({ name, help }) => name.startsWith("container_") && help.length > 5));
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "one");
  const containerId = await pod.start({});
  const { podMetrics } = await crictl.json("metricsp");
  assert.deepEqual(podMetrics.map(({ podSandboxId }: { podSandboxId: string }) => podSandboxId), [pod.id]);
  const [container] = podMetrics[0].containerMetrics;
  assert.equal(container.containerId, containerId);
  const find = (name: string): { value: { value: string } } =>
    container.metrics.find((metric: { name: string }) => metric.name === name);
  assert.ok(Number(find("container_memory_usage_bytes").value.value) > 0);
  await pod.remove();
  assert.deepEqual((await crictl.json("metricsp")).podMetrics, []);
  assert.deepEqual(await lab.leaks(), []);
});
