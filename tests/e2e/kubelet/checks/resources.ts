import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { cgroupOf, cpuShares, limitsOf } from "../kernel.ts";

/** Grows until it is killed: the shell itself, which is the container's first process. */
const GLUTTON = shell("x=0123456789abcdef; while :; do x=$x$x; done");

export const RESOURCES: readonly Check[] = [
  check("limits are in the container's cgroup, and their sum in the pod's", async (node) => {
    const pod = await node.run("limits", {
      containers: [
        { name: "one", command: SLEEPER, resources: { limits: { cpu: "250m", memory: "64Mi" } } },
        { name: "two", command: SLEEPER, resources: { limits: { cpu: "500m", memory: "32Mi" } } },
      ],
    });
    await pod.ready();
    const [one, two] = [await pod.pid("one"), await pod.pid("two")];
    assert.deepEqual(await limitsOf(one), { memory: String(64 << 20), cpu: "25000" });
    assert.deepEqual(await limitsOf(two), { memory: String(32 << 20), cpu: "50000" });
    assert.deepEqual(await limitsOf(one, 1), { memory: String(96 << 20), cpu: "75000" });
    await pod.delete();
  }),
  check("requests weigh processors, and quality of service has cgroups of its own", async (node) => {
    const requests = { cpu: "500m", memory: "16Mi" };
    const pods = [
      await node.run("qos-best-effort", { containers: [{ name: "main", command: SLEEPER }] }),
      await node.run("qos-burstable", { containers: [{ name: "main", command: SLEEPER, resources: { requests } }] }),
      await node.run("qos-guaranteed", {
        containers: [{ name: "main", command: SLEEPER, resources: { requests, limits: requests } }],
      }),
    ];
    const places: string[] = [];
    const shares: number[] = [];
    for (const pod of pods) {
      await pod.ready();
      places.push((await cgroupOf(await pod.pid("main"), "cpu")).replace(/^.*kubepods/, "").replace(/\/pod.*$/, ""));
      shares.push(await cpuShares(await pod.pid("main")));
    }
    assert.deepEqual(places, ["/besteffort", "/burstable", ""]);
    const [least = 0, half = 0, same = 0] = shares;
    assert.ok(least < half && half === same, shares.join());
    for (const pod of pods) await pod.delete();
  }),
  check("the kernel's score for killing is the kubelet's", async (node) => {
    const pod = await node.run("score", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    assert.equal((await Deno.readTextFile(`/proc/${await pod.pid("main")}/oom_score_adj`)).trim(), "1000");
    await pod.delete();
  }),
  check("a container that takes more memory than its limit ends as OOMKilled", async (node) => {
    const resources = { limits: { memory: "24Mi" } };
    const pod = await node.run("oom", {
      restartPolicy: "Never",
      containers: [{ name: "main", command: GLUTTON, resources }],
    });
    const { status } = await pod.ended();
    const terminated = status.containerStatuses?.[0]?.state.terminated;
    assert.deepEqual([terminated?.reason, terminated?.exitCode], ["OOMKilled", 137]);
    await pod.delete();
  }),
  check("a container that was OOMKilled is started again", async (node) => {
    const script = `if test -e /mark/once; then exec sleep 100000; fi; touch /mark/once; ${GLUTTON.at(-1)}`;
    const pod = await node.run("oom-again", {
      containers: [{
        name: "main",
        command: shell(script),
        resources: { limits: { memory: "24Mi" } },
        volumeMounts: [{ name: "mark", mountPath: "/mark" }],
      }],
      volumes: [{ name: "mark", emptyDir: {} }],
    });
    const last = await pod.untilContainer("main", "restarted", (c) => c.restartCount === 1 && c.lastState.terminated);
    assert.deepEqual([last.reason, last.exitCode], ["OOMKilled", 137]);
    await pod.ready();
    await pod.delete();
  }),
  check("limits of the pod as a whole are in its cgroup", async (node) => {
    const pod = await node.run("pod-limits", {
      resources: { limits: { cpu: "300m", memory: "80Mi" } },
      containers: [{ name: "one", command: SLEEPER }, { name: "two", command: SLEEPER }],
    });
    await pod.ready();
    assert.deepEqual(await limitsOf(await pod.pid("one"), 1), { memory: String(80 << 20), cpu: "30000" });
    await pod.delete();
  }),
  check("limits of a running container are changed in place", async (node) => {
    const resources = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } });
    const pod = await node.run("resize", {
      containers: [{ name: "main", command: SLEEPER, resources: resources("200m", "64Mi") }],
    });
    await pod.ready();
    const pid = await pod.pid("main");
    for (const [cpu, memory, bytes] of [["400m", "96Mi", 96 << 20], ["100m", "48Mi", 48 << 20]] as const) {
      const patch = { spec: { containers: [{ name: "main", resources: resources(cpu, memory) }] } };
      await node.cluster.send("PATCH", "/api/v1/namespaces/default/pods/resize/resize", patch);
      await pod.untilContainer("main", `at ${memory}`, (c) => {
        return (c.resources?.["limits"] as { memory?: string } | undefined)?.memory === memory;
      });
      assert.deepEqual(await limitsOf(pid), { memory: String(bytes), cpu: `${parseInt(cpu) * 100}` });
      assert.equal((await limitsOf(pid, 1)).memory, String(bytes));
    }
    assert.equal((await pod.container("main")).restartCount, 0);
    await pod.delete();
  }, { modes: ["cluster"] }),
];
