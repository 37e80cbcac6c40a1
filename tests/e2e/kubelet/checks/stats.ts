import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { KUBELET_READ_URL, NODE_NAME } from "../kubelet.ts";
import { until } from "../until.ts";

interface Usage {
  readonly time: string;
  readonly usageNanoCores?: number;
  readonly usageCoreNanoSeconds?: number;
  readonly usageBytes?: number;
  readonly workingSetBytes?: number;
  readonly usedBytes?: number;
  readonly inodesUsed?: number;
}

interface ContainerSummary {
  readonly name: string;
  readonly cpu?: Usage;
  readonly memory?: Usage;
  readonly rootfs?: Usage;
  readonly logs?: Usage;
}

interface PodSummary {
  readonly podRef: { readonly name: string };
  readonly cpu?: Usage;
  readonly memory?: Usage;
  readonly network?: { readonly rxBytes?: number; readonly txBytes?: number; readonly name?: string };
  readonly process_stats?: { readonly process_count?: number };
  readonly containers: readonly ContainerSummary[];
}

/** As JSON has it: a list of nothing is null. */
interface RawPodSummary extends Omit<PodSummary, "containers"> {
  readonly containers: readonly ContainerSummary[] | null;
}

interface Summary {
  readonly node: { readonly nodeName: string; readonly fs?: Usage; readonly runtime?: { readonly imageFs?: Usage } };
  readonly pods: readonly RawPodSummary[];
}

async function summary(): Promise<Summary> {
  return await (await fetch(`${KUBELET_READ_URL}/stats/summary`)).json();
}

/** What the summary says of a pod, once `fits` says yes. */
async function podSummary(name: string, fits: (pod: PodSummary) => boolean): Promise<PodSummary> {
  let last: PodSummary | undefined;
  return await until(`stats of ${name}`, async () => {
    const found = (await summary()).pods.find(({ podRef }) => podRef.name === name);
    last = found === undefined ? undefined : { ...found, containers: found.containers ?? [] };
    return last !== undefined && fits(last) ? last : undefined;
  }, { seen: () => JSON.stringify(last) });
}

/** Values of a metric whose labels name this pod, by container. */
async function metric(path: string, name: string, pod: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${KUBELET_READ_URL}${path}`)).text();
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (!line.startsWith(`${name}{`) || !line.includes(`pod="${pod}"`)) continue;
    const value = line.slice(line.lastIndexOf("}") + 1).trim().split(" ")[0];
    found.set(/container="([^"]*)"/.exec(line)?.[1] ?? "", Number(value));
  }
  return found;
}

const MIB = 1 << 20;
/** 50 MiB in a tmpfs of the container's: memory that the kernel counts as its own. */
const HOLDS_50_MIB = shell("head -c 52428800 /dev/zero >/dev/shm/held; exec sleep 100000");

export const STATS: readonly Check[] = [
  check("stats/summary: memory that a container holds is seen", async (node) => {
    const pod = await node.run("holds", { containers: [{ name: "main", command: HOLDS_50_MIB }] });
    const { metadata } = await pod.ready();
    const seen = await podSummary(metadata.name, ({ containers, memory }) => {
      const own = containers[0]?.memory?.workingSetBytes ?? 0;
      return own >= 50 * MIB && (memory?.workingSetBytes ?? 0) >= 50 * MIB;
    });
    assert.ok((seen.containers[0]?.memory?.workingSetBytes ?? 0) < 70 * MIB);
    await pod.delete();
  }),
  check("stats/summary: processor time of one that works grows, of one that sleeps does not", async (node) => {
    const pod = await node.run("works", {
      containers: [
        { name: "busy", command: shell("while :; do :; done"), resources: { limits: { cpu: "200m" } } },
        { name: "idle", command: SLEEPER },
      ],
    });
    const { metadata } = await pod.ready();
    const seen = await podSummary(metadata.name, ({ containers }) => {
      return (containers.find(({ name }) => name === "busy")?.cpu?.usageNanoCores ?? 0) > 100_000_000;
    });
    const idle = seen.containers.find(({ name }) => name === "idle")?.cpu?.usageNanoCores ?? 0;
    assert.ok(idle < 50_000_000, `${idle} nanocores`);
    await pod.delete();
  }),
  check("stats/summary: network, files and logs of a pod", async (node) => {
    const script = "head -c 3000000 /dev/zero >/file; seq 1 500; " +
      "busybox nc -w 1 10.238.77.1 9 </dev/null; exec sleep 100000";
    const pod = await node.run("writes", { containers: [{ name: "main", command: shell(script) }] });
    const { metadata } = await pod.ready();
    const seen = await podSummary(metadata.name, ({ containers, network }) => {
      const [main] = containers;
      return (main?.rootfs?.usedBytes ?? 0) >= 3_000_000 && (main?.logs?.usedBytes ?? 0) > 0 &&
        (network?.txBytes ?? 0) > 0;
    });
    assert.equal(seen.network?.name, "eth0");
    assert.ok((seen.containers[0]?.rootfs?.usedBytes ?? 0) < 30_000_000);
    await pod.delete();
  }),
  check("stats/summary: the node's and the images' file systems", async (node) => {
    await node.run("any", { containers: [{ name: "main", command: SLEEPER }] }).then((pod) => pod.delete());
    const { node: { nodeName, fs, runtime } } = await until("the node's figures", async () => {
      const seen = await summary();
      return seen.node.runtime?.imageFs?.usedBytes === undefined ? undefined : seen;
    });
    assert.equal(nodeName, NODE_NAME);
    assert.ok((fs?.usedBytes ?? 0) > 0);
    assert.ok((runtime?.imageFs?.usedBytes ?? 0) > 1_000_000, "the busybox image alone is larger");
  }),
  check("metrics/resource: memory and processor time", async (node) => {
    const pod = await node.run("metered", { containers: [{ name: "main", command: HOLDS_50_MIB }] });
    const { metadata } = await pod.ready();
    // A kubelet that asks by CRI tells pods only there.
    const [what, container] = node.mode === "cluster" ? ["container", "main"] : ["pod", ""];
    await until("its memory", async () => {
      const memory = await metric("/metrics/resource", `${what}_memory_working_set_bytes`, metadata.name);
      return (memory.get(container) ?? 0) >= 50 * MIB || undefined;
    });
    const cpu = await metric("/metrics/resource", `${what}_cpu_usage_seconds_total`, metadata.name);
    assert.ok((cpu.get(container) ?? 0) > 0);
    await pod.delete();
  }),
  check("metrics/cadvisor: memory and processor time by container", async (node) => {
    const pod = await node.run("cadvisor", { containers: [{ name: "main", command: HOLDS_50_MIB }] });
    const { metadata } = await pod.ready();
    await until("its memory", async () => {
      const memory = await metric("/metrics/cadvisor", "container_memory_working_set_bytes", metadata.name);
      return (memory.get("main") ?? 0) >= 50 * MIB || undefined;
    });
    // The CRI has whole numbers of seconds.
    const cpu = await metric("/metrics/cadvisor", "container_cpu_usage_seconds_total", metadata.name);
    assert.ok((cpu.get("main") ?? -1) >= 0);
    await pod.delete();
  }),
];
