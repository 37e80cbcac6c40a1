/**
 * The time from a pod to its run by the kubelet's own path, with crio and with containerd below the same kubelet.
 * Start it with `scripts/kubelet-test latency`; figures are for reading, machines differ.
 */
import { SLEEPER } from "./commands.ts";
import { KUBELET_READ_URL } from "./kubelet.ts";
import { type Mode, TestNode } from "./node.ts";

const PEERS = ["crio", "containerd"] as const;
const ROUNDS = Number(Deno.env.get("ROUNDS") ?? "2");
const PODS = 8;
const CROWD = 20;
const OPERATIONS = ["run_podsandbox", "create_container", "start_container", "stop_podsandbox", "remove_podsandbox"];

type Figures = Map<string, number[]>;

for (const mode of ["standalone", "cluster"] as const) {
  Deno.test(`${mode}: from a pod to its run`, async (t) => {
    const all = new Map<string, Figures>(PEERS.map((peer) => [peer, new Map()]));
    // Turn by turn, so that what else the machine does meets both.
    for (let round = 0; round < ROUNDS; round++) {
      for (const peer of PEERS) {
        await t.step(`${peer}, round ${round + 1}`, async () => await measure(mode, peer, all.get(peer) ?? new Map()));
      }
    }
    await Deno.stdout.write(new TextEncoder().encode(table(mode, all)));
  });
}

async function measure(mode: Mode, peer: string, figures: Figures): Promise<void> {
  Deno.env.set("E2E_DAEMON", peer);
  await using node = await TestNode.start({ mode });
  const note = (name: string, value: number): void => void figures.set(name, [...figures.get(name) ?? [], value]);
  for (let i = 0; i < PODS; i++) {
    const startMs = performance.now();
    const pod = await node.run(`pod-${i}`, { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    note("one pod to Ready, ms", performance.now() - startMs);
    await pod.delete();
  }
  const startMs = performance.now();
  const names = Array.from({ length: CROWD }, (_, i) => `crowd-${i}`);
  const pods = await Promise.all(
    names.map((name) => node.run(name, { containers: [{ name: "main", command: SLEEPER }] })),
  );
  await Promise.all(pods.map((pod) => pod.ready()));
  note(`${CROWD} pods to Ready, ms`, performance.now() - startMs);
  const goneMs = performance.now();
  await Promise.all(pods.map((pod) => pod.delete()));
  note(`${CROWD} pods to gone, ms`, performance.now() - goneMs);
  for (const [operation, meanMs] of await operationMeans()) note(`${operation}, mean ms`, meanMs);
}

/** How long the kubelet waited for the runtime's answers. */
async function operationMeans(): Promise<Map<string, number>> {
  const text = await (await fetch(`${KUBELET_READ_URL}/metrics`)).text();
  const value = (operation: string, part: string): number => {
    const name = `kubelet_runtime_operations_duration_seconds_${part}\\{operation_type="${operation}"\\}`;
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? NaN);
  };
  return new Map(
    OPERATIONS.map((operation) => [operation, 1000 * value(operation, "sum") / value(operation, "count")]),
  );
}

function table(mode: Mode, all: ReadonlyMap<string, Figures>): string {
  const names = new Set([...all.values()].flatMap((figures) => [...figures.keys()]));
  const lines = [...names].map((name) => {
    const medians = PEERS.map((peer) => median(all.get(peer)?.get(name) ?? []));
    return `| ${name} | ${medians.map((value) => value.toFixed(0)).join(" | ")} |`;
  });
  return [`\n${mode}, medians`, `| measure | ${PEERS.join(" | ")} |`, "|---|---|---|", ...lines, ""].join("\n");
}

function median(values: readonly number[]): number {
  const sorted = [...values].filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
