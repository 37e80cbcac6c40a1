/** What lasts when the kubelet or the runtime goes away and comes back, and what is left at the end. */
import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { isAlive } from "../kernel.ts";
import { KUBELET_READ_URL } from "../kubelet.ts";
import type { TestNode } from "../node.ts";
import type { TestPod } from "../test_pod.ts";
import { until } from "../until.ts";

const COUNTER = shell('i=0; while :; do echo "$i"; i=$((i+1)); sleep 0.1; done');

/** A pod with a counter that writes, a server and a probe. */
async function survivor(node: TestNode, name: string): Promise<{ pod: TestPod; pids: number[] }> {
  const readinessProbe = { exec: { command: ["true"] }, periodSeconds: 1 };
  const pod = await node.run(name, {
    containers: [{ name: "main", command: SLEEPER, readinessProbe }, { name: "counter", command: COUNTER }],
  });
  await pod.ready();
  return { pod, pids: [await pod.pid("main"), await pod.pid("counter")] };
}

/** The same processes, no restart, commands and logs as before. */
async function assertSurvived({ pod, pids }: { pod: TestPod; pids: readonly number[] }): Promise<void> {
  await pod.ready();
  assert.deepEqual([await pod.pid("main"), await pod.pid("counter")], pids);
  for (const name of ["main", "counter"]) assert.equal((await pod.container(name)).restartCount, 0);
  // The kubelet needs a moment to find the runtime's socket again.
  const works = async (): Promise<string | undefined> => await pod.shell("main", "echo works").catch(() => undefined);
  assert.equal(await until("commands to run again", works), "works");
  const seen = (await pod.log("counter")).trimEnd().split("\n").length;
  await until("the counter to go on", async () => {
    return (await pod.log("counter")).trimEnd().split("\n").length > seen || undefined;
  });
  const numbers = (await pod.log("counter")).trimEnd().split("\n").map(Number);
  assert.deepEqual(numbers, Array.from({ length: numbers.length }, (_, i) => i), "the log has a gap");
}

async function assertNewPodsRun(node: TestNode, name: string): Promise<void> {
  const pod = await node.run(name, { containers: [{ name: "main", command: SLEEPER }] });
  await pod.ready();
  await pod.delete();
}

async function operationErrors(): Promise<Map<string, number>> {
  const text = await (await fetch(`${KUBELET_READ_URL}/metrics`)).text();
  const errors = new Map<string, number>();
  for (
    const [, operation = "", count] of text.matchAll(
      /^kubelet_runtime_operations_errors_total\{operation_type="([^"]+)"\} (\S+)$/gm,
    )
  ) {
    errors.set(operation, Number(count));
  }
  return errors;
}

/** Operations that fail for no pod of these checks; others are made to fail by some. */
const NEVER_FAIL = /^(list_|remove_|stop_|podsandbox_status|image_status|status|version|update_|reopen_)/;

export const RESTARTS: readonly Check[] = [
  check("no call to the runtime fails but those that checks make fail", async () => {
    const failed = [...await operationErrors()].filter(([operation]) => NEVER_FAIL.test(operation));
    assert.deepEqual(failed, []);
  }, { alone: true }),
  check("thirty pods at once run, and end", async (node) => {
    const names = Array.from({ length: 30 }, (_, i) => `crowd-${i}`);
    const pods = await Promise.all(
      names.map((name) => node.run(name, { containers: [{ name: "main", command: SLEEPER }] })),
    );
    const views = await Promise.all(pods.map((pod) => pod.ready()));
    assert.equal(new Set(views.map(({ status }) => status.podIP)).size, 30);
    await Promise.all(pods.map((pod) => pod.delete()));
  }, { alone: true }),
  check("a changed manifest ends the old pod and starts the new one", async (node) => {
    const fields = (text: string) => ({
      containers: [{ name: "main", command: shell(`echo ${text}; exec sleep 1000`) }],
    });
    const pod = await node.run("changed", fields("old"));
    const before = await pod.ready();
    const pid = await pod.pid("main");
    await node.run("changed", fields("new"));
    await pod.until("the new one", ({ metadata }) => metadata.uid !== before.metadata.uid);
    await pod.ready();
    assert.equal(await pod.log("main"), "new\n");
    assert.ok(!(await isAlive(pid)));
    await pod.delete();
  }, { modes: ["standalone"] }),
  check("the kubelet is started again: pods run on", async (node) => {
    const survived = await survivor(node, "kubelet-again");
    await node.kubelet.stop("SIGTERM");
    await node.kubelet.start();
    await assertSurvived(survived);
    await assertNewPodsRun(node, "after-kubelet");
    await survived.pod.delete();
  }, { alone: true }),
  check("the runtime is started again: pods run on", async (node) => {
    const survived = await survivor(node, "runtime-again");
    await node.lab.daemon.stop("SIGTERM");
    await node.lab.daemon.start();
    await assertSurvived(survived);
    await assertNewPodsRun(node, "after-runtime");
    await survived.pod.delete();
  }, { alone: true }),
  check("the runtime is killed and started again: pods run on", async (node) => {
    const survived = await survivor(node, "runtime-killed");
    await node.lab.daemon.stop("SIGKILL");
    await node.lab.daemon.start();
    await assertSurvived(survived);
    await assertNewPodsRun(node, "after-kill");
    await survived.pod.delete();
  }, { alone: true }),
  check("a container that ends while the runtime is away is restarted with its exit code told", async (node) => {
    const path = await node.hostDirectory("away");
    const command = shell(
      "if test -e /host/gone; then exec sleep 1000; fi; until test -e /host/go; do sleep 0.1; done; touch /host/gone; exit 23",
    );
    const pod = await node.run("ends-away", {
      containers: [{ name: "main", command, volumeMounts: [{ name: "host", mountPath: "/host" }] }],
      volumes: [{ name: "host", hostPath: { path } }],
    });
    await pod.ready();
    const pid = await pod.pid("main");
    await node.lab.daemon.stop("SIGKILL");
    await Deno.writeTextFile(`${path}/go`, "");
    await until("the container to end", async () => !(await isAlive(pid)) || undefined);
    await node.lab.daemon.start();
    const last = await pod.untilContainer("main", "restarted", (c) => c.restartCount === 1 && c.lastState.terminated);
    assert.deepEqual([last.exitCode, last.reason], [23, "Error"]);
    await pod.ready();
    await pod.delete();
  }, { alone: true }),
  check("the kubelet and the runtime are killed together: pods run on", async (node) => {
    const survived = await survivor(node, "both-killed");
    await Promise.all([node.lab.daemon.stop("SIGKILL"), node.kubelet.stop("SIGKILL")]);
    await node.lab.daemon.start();
    await node.kubelet.start();
    await assertSurvived(survived);
    await survived.pod.delete();
  }, { alone: true }),
];

/** The last one: all pods are gone by then. */
export const LEFTOVERS: readonly Check[] = [
  check("once all pods are gone nothing of them is left", async (node) => {
    await node.removePods();
    let left: string[] = [];
    // The kubelet looks for dead pods and containers once a minute.
    await until("the node to be empty", async () => {
      const { items } = await node.cri.call("listPodSandbox", {});
      left = [...await node.leaks(), ...items.map(({ id }) => `pod ${id}`)];
      return left.length === 0 || undefined;
    }, { timeoutMs: 150_000, seen: () => left.slice(0, 20).join("\n") });
  }, { alone: true }),
];
