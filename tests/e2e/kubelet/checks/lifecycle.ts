import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { isAlive } from "../kernel.ts";
import { until } from "../until.ts";
import { shell, SLEEPER } from "../commands.ts";

export const LIFECYCLE: readonly Check[] = [
  check("a pod runs, with the address that its network namespace has", async (node) => {
    const pod = await node.run("runs", { containers: [{ name: "main", command: SLEEPER }] });
    const { status } = await pod.ready();
    assert.equal(status.phase, "Running");
    assert.match(status.podIP ?? "", /^10\.238\.77\.\d+$/);
    assert.ok((await pod.shell("main", "ip -4 address show eth0")).includes(`inet ${status.podIP}/24`));
    await pod.delete();
  }),
  check("a container's status names its id, the image's digest and the time of its start", async (node) => {
    const beforeMs = Date.now() - 1000;
    const pod = await node.run("told", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const main = await pod.container("main");
    assert.match(main.containerID ?? "", /^(cri-o|containerd):\/\/[0-9a-f]{64}$/);
    assert.equal(main.image, node.image);
    assert.match(main.imageID, /(^|@|\/\/)(sha256:)?[0-9a-f]{64}$/);
    const startedMs = Date.parse(main.state.running?.startedAt ?? "");
    assert.ok(startedMs >= beforeMs && startedMs <= Date.now(), String(main.state.running?.startedAt));
    assert.deepEqual([main.ready, main.started, main.restartCount], [true, true, 0]);
    await pod.delete();
  }),
  check("command, arguments, environment and working directory are the pod's", async (node) => {
    const fields = {
      name: "main",
      command: ["sh", "-c", 'pwd; echo "$0 $1"; env | sort; exec sleep 100000', "zero"],
      args: ["an $(GREETING)"],
      workingDir: "/not/there/before",
      env: [
        { name: "GREETING", value: "hello" },
        { name: "COMPOSED", value: "$(GREETING) again, $$(GREETING)" },
        { name: "ADDRESS", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
        { name: "LABEL", valueFrom: { fieldRef: { fieldPath: "metadata.labels['colour']" } } },
        { name: "LIMIT", valueFrom: { resourceFieldRef: { resource: "limits.memory" } } },
      ],
      resources: { limits: { memory: "64Mi" } },
    };
    const pod = await node.run("environment", { containers: [fields] }, { labels: { colour: "blue" } });
    const { status } = await pod.ready();
    const log = await pod.log("main");
    assert.ok(log.startsWith("/not/there/before\nzero an hello\n"), log);
    for (const line of ["GREETING=hello", "COMPOSED=hello again, $(GREETING)", "LABEL=blue", "LIMIT=67108864"]) {
      assert.ok(log.includes(`${line}\n`), `${line} in ${log}`);
    }
    assert.ok(log.includes(`ADDRESS=${status.podIP}\n`), log);
    await pod.delete();
  }),
  check("Always: a container that ends well is started again", async (node) => {
    const pod = await node.run("always", { containers: [{ name: "main", command: shell("echo here; sleep 1") }] });
    const last = await pod.untilContainer("main", "restarted", (c) => c.restartCount > 0 && c.lastState.terminated);
    assert.deepEqual([last.exitCode, last.reason], [0, "Completed"]);
    assert.ok(Date.parse(last.finishedAt) >= Date.parse(last.startedAt));
    await pod.delete();
  }),
  check("OnFailure: a container that fails is started again until it succeeds", async (node) => {
    const script = "if test -e /mark/once; then sleep 2; exit 0; fi; touch /mark/once; exit 7";
    const pod = await node.run("on-failure", {
      restartPolicy: "OnFailure",
      containers: [{ name: "main", command: shell(script), volumeMounts: [{ name: "mark", mountPath: "/mark" }] }],
      volumes: [{ name: "mark", emptyDir: {} }],
    });
    const last = await pod.untilContainer("main", "restarted", (c) => c.restartCount > 0 && c.lastState.terminated);
    assert.deepEqual([last.exitCode, last.reason], [7, "Error"]);
    const { status } = await pod.ended();
    const [main] = status.containerStatuses ?? [];
    assert.deepEqual([status.phase, main?.restartCount, main?.state.terminated?.exitCode], ["Succeeded", 1, 0]);
    await pod.delete();
  }),
  check("Never: a failure is the pod's, with its exit code and the message that it left", async (node) => {
    const command = shell("printf 'it was the cable' >/dev/termination-log; exit 3");
    const pod = await node.run("never", { restartPolicy: "Never", containers: [{ name: "main", command }] });
    const { status } = await pod.ended();
    const terminated = status.containerStatuses?.[0]?.state.terminated;
    assert.equal(status.phase, "Failed");
    assert.deepEqual([terminated?.exitCode, terminated?.reason], [3, "Error"]);
    assert.equal(terminated?.message, "it was the cable");
    await pod.delete();
  }),
  check("FallbackToLogsOnError: the end of the log is the message", async (node) => {
    const command = shell("seq 1 200; echo 'last words'; exit 4");
    const fields = { name: "main", command, terminationMessagePolicy: "FallbackToLogsOnError" };
    const pod = await node.run("last-words", { restartPolicy: "Never", containers: [fields] });
    const { status } = await pod.ended();
    const message = status.containerStatuses?.[0]?.state.terminated?.message ?? "";
    assert.ok(message.endsWith("\n200\nlast words\n"), JSON.stringify(message));
    await pod.delete();
  }),
  check("a container that ends again and again waits in CrashLoopBackOff", async (node) => {
    const pod = await node.run("crash-loop", { containers: [{ name: "main", command: shell("exit 5") }] });
    const main = await pod.untilContainer(
      "main",
      "in CrashLoopBackOff",
      (c) => c.state.waiting?.reason === "CrashLoopBackOff" && c.restartCount > 0 && c,
    );
    assert.equal(main.lastState.terminated?.exitCode, 5);
    await pod.delete();
  }),
  check("a command that is not in the image is named in the reason", async (node) => {
    const pod = await node.run("no-command", { containers: [{ name: "main", command: ["/no/such/command"] }] });
    const message = await pod.untilContainer("main", "refused", ({ state, lastState }) => {
      const { reason, message } = state.waiting ?? {};
      if (/^(CreateContainerError|RunContainerError)$/.test(reason ?? "")) return message;
      return lastState.terminated?.message;
    });
    assert.match(message, /\/no\/such\/command/);
    assert.match(message, /no such file|not found/i);
    await pod.delete();
  }),
  check("one container may end while the others go on", async (node) => {
    const containers = [{ name: "short", command: shell("exit 0") }, { name: "long", command: SLEEPER }];
    const pod = await node.run("two", { restartPolicy: "Never", containers });
    await pod.untilContainer("short", "ended", ({ state }) => state.terminated);
    assert.ok((await pod.container("long")).state.running !== undefined);
    assert.equal((await pod.view()).status.phase, "Running");
    await pod.delete();
  }),
  check("activeDeadlineSeconds ends a pod", async (node) => {
    const pod = await node.run("deadline", {
      activeDeadlineSeconds: 2,
      restartPolicy: "Never",
      containers: [{ name: "main", command: SLEEPER }],
    });
    const pid = await pod.untilContainer("main", "running", (c) => c.state.running).then(() => pod.pid("main"));
    const { status } = await pod.ended();
    assert.deepEqual([status.phase, status.reason], ["Failed", "DeadlineExceeded"]);
    await until("its process to be gone", async () => !(await isAlive(pid)) || undefined);
    await pod.delete();
  }),
];
