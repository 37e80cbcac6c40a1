import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { lineServer, shell, SLEEPER, webServer } from "../commands.ts";
import { commandsIn } from "../kernel.ts";
import { until } from "../until.ts";

const EVERY_SECOND = { periodSeconds: 1, failureThreshold: 1 };

export const PROBES: readonly Check[] = [
  check("liveness by exec: a container that fails it is restarted", async (node) => {
    const livenessProbe = { exec: { command: ["test", "!", "-e", "/sick"] }, ...EVERY_SECOND };
    const pod = await node.run("live-exec", { containers: [{ name: "main", command: SLEEPER, livenessProbe }] });
    await pod.ready();
    const before = await pod.containerId("main");
    await pod.shell("main", "touch /sick");
    const last = await pod.untilContainer("main", "restarted", (c) => c.restartCount === 1 && c.lastState.terminated);
    assert.ok(last.containerID.endsWith(before));
    assert.equal(last.exitCode, 0, "SLEEPER ends well on SIGTERM");
    await pod.ready();
    assert.notEqual(await pod.containerId("main"), before);
    await pod.delete();
  }),
  check("liveness by HTTP: a container that fails it is restarted", async (node) => {
    const livenessProbe = { httpGet: { path: "/index.html", port: 8080 }, ...EVERY_SECOND, initialDelaySeconds: 1 };
    const pod = await node.run("live-http", {
      containers: [{ name: "main", command: webServer(8080), livenessProbe }],
    });
    await pod.ready();
    await pod.shell("main", "rm /www/index.html");
    await pod.untilContainer("main", "restarted", (c) => c.restartCount === 1);
    await pod.delete();
  }),
  check("readiness by HTTP comes and goes without a restart", async (node) => {
    const readinessProbe = { httpGet: { path: "/ready", port: 8080 }, ...EVERY_SECOND };
    const pod = await node.run("ready-http", {
      containers: [{ name: "main", command: webServer(8080), readinessProbe }],
    });
    await pod.untilContainer("main", "running, not ready", (c) => c.state.running !== undefined && !c.ready);
    await pod.shell("main", "echo yes >/www/ready");
    await pod.ready();
    await pod.shell("main", "rm /www/ready");
    await pod.untilContainer("main", "not ready again", (c) => !c.ready);
    assert.equal((await pod.container("main")).restartCount, 0);
    await pod.delete();
  }),
  check("readiness by TCP: the port has to be open", async (node) => {
    const readinessProbe = { tcpSocket: { port: 7000 }, ...EVERY_SECOND };
    const command = shell(`while ! test -e /open; do sleep 0.2; done; ${lineServer(7000, "hi").at(-1)}`);
    const pod = await node.run("ready-tcp", { containers: [{ name: "main", command, readinessProbe }] });
    await pod.untilContainer("main", "running, not ready", (c) => c.state.running !== undefined && !c.ready);
    await pod.shell("main", "touch /open");
    await pod.ready();
    await pod.delete();
  }),
  check("a startup probe keeps the liveness probe waiting", async (node) => {
    const asked = { exec: { command: shell("echo asked >>/asked; test -e /up") }, periodSeconds: 1 };
    const live = { exec: { command: ["test", "-e", "/up"] }, periodSeconds: 1 };
    const pod = await node.run("startup", {
      containers: [{
        name: "main",
        command: SLEEPER,
        startupProbe: { ...asked, failureThreshold: 100 },
        livenessProbe: { ...live, failureThreshold: 1 },
      }],
    });
    await pod.untilContainer("main", "running, not started", (c) => c.state.running !== undefined && !c.started);
    // A liveness probe, asked every second too, would have failed by then.
    await until(
      "three tries",
      async () => Number(await pod.shell("main", "cat /asked 2>/dev/null | wc -l")) >= 3 || undefined,
    );
    assert.equal((await pod.container("main")).restartCount, 0);
    await pod.shell("main", "touch /up");
    await pod.untilContainer("main", "started", (c) => c.started);
    await pod.ready();
    await pod.delete();
  }),
  check("a probe that takes too long fails, and its process ends", async (node) => {
    const readinessProbe = { exec: { command: ["sleep", "4321"] }, timeoutSeconds: 1, periodSeconds: 1 };
    const pod = await node.run("slow-probe", { containers: [{ name: "main", command: SLEEPER, readinessProbe }] });
    await pod.untilContainer("main", "running", (c) => c.state.running);
    const pid = await pod.pid("main");
    const probes = async (): Promise<number> => (await commandsIn(pid)).filter((line) => line === "sleep 4321").length;
    await until("a probe to run", async () => await probes() > 0 || undefined);
    await until("the probe to be ended", async () => await probes() === 0 || undefined);
    await until("the next one", async () => await probes() > 0 || undefined);
    assert.ok(await probes() <= 1);
    assert.ok(!(await pod.container("main")).ready);
    await pod.delete();
  }),
];
