/** Containers that prepare, accompany and end others. */
import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { isAlive } from "../kernel.ts";
import type { TestNode } from "../node.ts";
import type { Fields } from "../pod_types.ts";

/** A directory of the node at /note, where containers write what the check reads. */
async function noteBook(node: TestNode, name: string): Promise<{ mounts: Fields; volumes: Fields; text(): string }> {
  const path = await node.hostDirectory(name);
  return {
    mounts: { volumeMounts: [{ name: "note", mountPath: "/note" }] },
    volumes: { volumes: [{ name: "note", hostPath: { path } }] },
    text: () => Deno.readTextFileSync(`${path}/text`),
  };
}

/** Waits for SIGTERM and then runs `script`. */
function onTerm(script: string): string[] {
  return shell(`trap '${script}; exit 0' TERM; while :; do sleep 0.1; done`);
}

const NOTE = (word: string): string => `echo ${word} >>/note/text`;

export const ENDINGS: readonly Check[] = [
  check("init containers run one after the other, before all others", async (node) => {
    const note = await noteBook(node, "init");
    const pod = await node.run("init", {
      initContainers: [
        { name: "first", command: shell(`sleep 0.5; ${NOTE("first")}`), ...note.mounts },
        { name: "second", command: shell(NOTE("second")), ...note.mounts },
      ],
      containers: [{ name: "main", command: shell(`${NOTE("main")}; exec sleep 100000`), ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    assert.equal(note.text(), "first\nsecond\nmain\n");
    assert.equal((await pod.container("first")).state.terminated?.reason, "Completed");
    await pod.delete();
  }),
  check("an init container that fails is tried again, and the others wait", async (node) => {
    const note = await noteBook(node, "init-again");
    const script = `if test -e /note/text; then ${NOTE("good")}; else ${NOTE("bad")}; exit 1; fi`;
    const pod = await node.run("init-again", {
      initContainers: [{ name: "first", command: shell(script), ...note.mounts }],
      containers: [{ name: "main", command: shell(`${NOTE("main")}; exec sleep 100000`), ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    assert.equal(note.text(), "bad\ngood\nmain\n");
    assert.equal((await pod.container("first")).restartCount, 1);
    await pod.delete();
  }),
  check("a sidecar is there before the others and is ended behind them", async (node) => {
    const note = await noteBook(node, "sidecar");
    const started = { exec: { command: ["test", "-e", "/note/text"] }, periodSeconds: 1 };
    const pod = await node.run("sidecar", {
      restartPolicy: "Never",
      initContainers: [{
        name: "side",
        restartPolicy: "Always",
        command: shell(`${NOTE("side")}; trap '${NOTE("side-ends")}; exit 0' TERM; while :; do sleep 0.1; done`),
        startupProbe: started,
        ...note.mounts,
      }],
      containers: [{
        name: "main",
        command: shell(`${NOTE("main")}; sleep 0.5; ${NOTE("main-ends")}`),
        ...note.mounts,
      }],
      ...note.volumes,
    });
    const { status } = await pod.ended();
    assert.equal(status.phase, "Succeeded");
    assert.equal(note.text(), "side\nmain\nmain-ends\nside-ends\n");
    await pod.delete();
  }),
  check("a sidecar that dies is started again without the others", async (node) => {
    const pod = await node.run("sidecar-dies", {
      initContainers: [{ name: "side", restartPolicy: "Always", command: shell("sleep 2; exit 1") }],
      containers: [{ name: "main", command: SLEEPER }],
    });
    await pod.untilContainer("side", "restarted", (c) => c.restartCount > 0);
    assert.equal((await pod.container("main")).restartCount, 0);
    await pod.delete();
  }),
  check("postStart runs beside the container", async (node) => {
    const note = await noteBook(node, "post-start");
    const lifecycle = { postStart: { exec: { command: shell(NOTE("hook")) } } };
    const pod = await node.run("post-start", {
      containers: [{ name: "main", command: SLEEPER, lifecycle, ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    assert.equal(note.text(), "hook\n");
    await pod.delete();
  }),
  check("a postStart that fails ends the container", async (node) => {
    const lifecycle = { postStart: { exec: { command: shell("echo no luck; exit 9") } } };
    const pod = await node.run("post-start-fails", {
      restartPolicy: "Never",
      containers: [{ name: "main", command: SLEEPER, lifecycle }],
    });
    const terminated = await pod.untilContainer("main", "ended", ({ state }) => state.terminated);
    assert.equal(terminated.exitCode, 0, "SLEEPER ends well on SIGTERM");
    await pod.delete();
  }),
  check("preStop runs to its end before SIGTERM", async (node) => {
    const note = await noteBook(node, "pre-stop");
    const lifecycle = { preStop: { exec: { command: shell(`sleep 0.5; ${NOTE("hook")}`) } } };
    const pod = await node.run("pre-stop", {
      terminationGracePeriodSeconds: 20,
      containers: [{ name: "main", command: onTerm(NOTE("term")), lifecycle, ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    await pod.delete();
    assert.equal(note.text(), "hook\nterm\n");
  }),
  check("a preStop that sleeps puts SIGTERM off", async (node) => {
    const note = await noteBook(node, "pre-stop-sleep");
    const pod = await node.run("pre-stop-sleep", {
      terminationGracePeriodSeconds: 20,
      containers: [{
        name: "main",
        command: onTerm("date +%s >/note/text"),
        lifecycle: { preStop: { sleep: { seconds: 2 } } },
        ...note.mounts,
      }],
      ...note.volumes,
    });
    await pod.ready();
    const beforeS = Date.now() / 1000;
    await pod.delete();
    assert.ok(Number(note.text()) - beforeS >= 1.5, `SIGTERM came after ${Number(note.text()) - beforeS} s`);
  }),
  check("a container that is asked to end has its grace period for it", async (node) => {
    const note = await noteBook(node, "graceful");
    const pod = await node.run("graceful", {
      terminationGracePeriodSeconds: 30,
      containers: [{ name: "main", command: onTerm(`sleep 2; ${NOTE("done")}`), ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    await pod.delete();
    assert.equal(note.text(), "done\n");
  }),
  check("what ignores SIGTERM is killed once its grace period is over", async (node) => {
    const command = shell("trap '' TERM; while :; do sleep 0.1; done");
    const pod = await node.run("stubborn", {
      terminationGracePeriodSeconds: 2,
      containers: [{ name: "main", command }],
    });
    await pod.ready();
    const pid = await pod.pid("main");
    const startMs = performance.now();
    await pod.delete();
    const tookMs = performance.now() - startMs;
    assert.ok(!(await isAlive(pid)));
    assert.ok(tookMs >= 1900 && tookMs < 15_000, `it took ${tookMs} ms`);
  }),
  check("a stop signal of the pod's choice is sent in the place of SIGTERM", async (node) => {
    const note = await noteBook(node, "stop-signal");
    const command = shell(`trap '${NOTE("usr1")}; exit 0' USR1; trap '' TERM; while :; do sleep 0.1; done`);
    const pod = await node.run("stop-signal", {
      os: { name: "linux" },
      terminationGracePeriodSeconds: 15,
      containers: [{ name: "main", command, lifecycle: { stopSignal: "SIGUSR1" }, ...note.mounts }],
      ...note.volumes,
    });
    await pod.ready();
    assert.equal((await pod.container("main")).stopSignal, "SIGUSR1");
    await pod.delete();
    assert.equal(note.text(), "usr1\n");
  }),
];
