/** Exec, attach, port-forward and logs through the kubelet's own API. */
import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { commandsIn } from "../kernel.ts";
import { until } from "../until.ts";

/** Says what it reads, with the number of the line. */
const ECHO = shell('n=0; while read -r line; do n=$((n+1)); echo "$n $line"; done');

export const STREAMS: readonly Check[] = [
  check("exec: standard output, standard error and the exit code come apart", async (node) => {
    const pod = await node.run("exec", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const outcome = await pod.exec("main", shell("echo out; echo err >&2; exit 42"));
    assert.deepEqual(outcome, { stdout: "out\n", stderr: "err\n", exitCode: 42 });
    await pod.delete();
  }),
  check("exec: standard input comes in whole and ends", async (node) => {
    const pod = await node.run("exec-input", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const stdin = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
    const outcome = await pod.exec("main", ["cat"], { stdin });
    assert.equal(outcome.stdout, stdin);
    assert.equal(outcome.exitCode, 0);
    await pod.delete();
  }),
  check("exec: a terminal has the client's size, and a new one when it changes", async (node) => {
    const pod = await node.run("exec-tty", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const script = "trap 'busybox stty size; exit 5' WINCH; test -t 0 && echo terminal; while :; do sleep 0.1; done";
    const outcome = await pod.exec("main", shell(script), {
      tty: true,
      onOutput: (text, session) => {
        if (text.includes("terminal")) session.resize(97, 31);
      },
    });
    assert.equal(outcome.stdout, "terminal\r\n31 97\r\n");
    assert.equal(outcome.exitCode, 5);
    await pod.delete();
  }),
  check("exec: 64 MiB come out whole", async (node) => {
    const pod = await node.run("exec-much", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const { stdout } = await pod.exec("main", shell("head -c 67108864 /dev/zero | tr '\\0' x"));
    assert.equal(stdout.length, 64 << 20);
    await pod.delete();
  }),
  check("exec: what a client leaves behind ends", async (node) => {
    const pod = await node.run("exec-leave", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const session = await pod.openExec("main", shell("echo here; exec sleep 33333"));
    await until("the command to run", () => Promise.resolve(session.stdout.includes("here") || undefined));
    const pid = await pod.pid("main");
    const runs = async (): Promise<boolean> => (await commandsIn(pid)).includes("sleep 33333");
    assert.ok(await runs());
    session.close();
    await until("the command to end", async () => !(await runs()) || undefined);
    await pod.delete();
  }),
  check("exec: a command that is not there is told", async (node) => {
    const pod = await node.run("exec-missing", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const told = await pod.exec("main", ["/no/such/program"]).then(
      ({ exitCode, stderr }) => `${exitCode} ${stderr}`,
      (error: Error) => error.message,
    );
    assert.match(told, /12[67]|no such file|not found/i);
    await pod.delete();
  }),
  check("run: the kubelet's own command gives its output", async (node) => {
    const pod = await node.run("run", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const good = await pod.runCommand("main", "echo one two");
    assert.deepEqual([good.status, await good.text()], [200, "one two\n"]);
    const bad = await pod.runCommand("main", "false");
    assert.deepEqual([bad.status, /exit code 1|exited with 1/.test(await bad.text())], [500, true]);
    await pod.delete();
  }),
  check("attach: a container's own input and output", async (node) => {
    const pod = await node.run("attach", { containers: [{ name: "main", command: ECHO, stdin: true }] });
    await pod.ready();
    const session = await pod.attach("main", { onOutput: () => {} });
    session.write("first\n");
    await until("an answer", () => Promise.resolve(session.stdout === "1 first\n" || undefined));
    session.write("second\n");
    await until("another", () => Promise.resolve(session.stdout === "1 first\n2 second\n" || undefined));
    session.close();
    assert.equal(await pod.log("main"), "1 first\n2 second\n");
    await pod.delete();
  }),
  check("attach: with stdinOnce the end of input is the container's", async (node) => {
    const pod = await node.run("attach-once", {
      restartPolicy: "Never",
      containers: [{ name: "main", command: ECHO, stdin: true, stdinOnce: true }],
    });
    await pod.ready();
    await pod.attach("main", { stdin: "only\n" });
    const { status } = await pod.ended();
    assert.equal(status.phase, "Succeeded");
    assert.equal(await pod.log("main"), "1 only\n");
    await pod.delete();
  }),
  check("port-forward: a port of the pod answers through the kubelet", async (node) => {
    const command = shell("trap 'exit 0' TERM; busybox nc -ll -p 7500 -e cat & wait");
    const pod = await node.run("forward", { containers: [{ name: "main", command }] });
    await pod.ready();
    await until("the server", async () => {
      return (await pod.shell("main", "cat /proc/net/tcp /proc/net/tcp6")).includes(":1D4C ") || undefined;
    });
    const answer = await pod.throughPort(7500, new TextEncoder().encode("echoed\n"), { answerBytes: 7 });
    assert.equal(new TextDecoder().decode(answer), "echoed\n");
    await assert.rejects(pod.throughPort(7501, new Uint8Array()), /7501|refused/);
    await pod.delete();
  }),
  check("logs: both streams, time stamps, the last lines, those since, so many bytes", async (node) => {
    const command = shell("echo one; echo two >&2; sleep 2; echo three; exec sleep 100000");
    const pod = await node.run("logs", { containers: [{ name: "main", command }] });
    await pod.ready();
    await until("all lines", async () => (await pod.log("main")).includes("three") || undefined);
    assert.equal(await pod.log("main"), "one\ntwo\nthree\n");
    const stamped = (await pod.log("main", { timestamps: "true" })).trim().split("\n");
    for (const line of stamped) assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) (one|two|three)$/);
    assert.equal(await pod.log("main", { tailLines: "2" }), "two\nthree\n");
    assert.equal(await pod.log("main", { limitBytes: "5" }), "one\nt");
    const sinceTime = stamped[2]?.split(" ")[0] ?? "";
    assert.equal(await pod.log("main", { sinceTime }), "three\n");
    await pod.delete();
  }),
  check("logs: following ends with the container", async (node) => {
    const command = shell("for i in 1 2 3 4 5; do echo line $i; sleep 0.4; done");
    const pod = await node.run("logs-follow", { restartPolicy: "Never", containers: [{ name: "main", command }] });
    await pod.untilContainer("main", "running", (c) => c.state.running);
    assert.equal(await pod.log("main", { follow: "true" }), [1, 2, 3, 4, 5].map((i) => `line ${i}\n`).join(""));
    await pod.ended();
    await pod.delete();
  }),
  check("logs: those of the container before", async (node) => {
    const script = "if test -e /mark/once; then echo second; exec sleep 100000; fi; touch /mark/once; echo first";
    const pod = await node.run("logs-before", {
      containers: [{ name: "main", command: shell(script), volumeMounts: [{ name: "mark", mountPath: "/mark" }] }],
      volumes: [{ name: "mark", emptyDir: {} }],
    });
    await pod.untilContainer("main", "restarted", (c) => c.restartCount === 1 && c.state.running);
    assert.equal(await pod.log("main", { previous: "true" }), "first\n");
    await until("the second", async () => await pod.log("main") === "second\n" || undefined);
    await pod.delete();
  }),
  check("logs: rotated while the container writes, and nothing is lost", async (node) => {
    // 64 KiB a file: some eight of them, at a pace at which the kubelet, which looks every 3 s, keeps all that it should.
    const script = 'i=0; while [ $i -lt 4000 ]; do echo "line $i of many, long enough to fill a file"; i=$((i+1)); ' +
      "[ $((i % 400)) != 0 ] || sleep 1; done; exec sleep 100000";
    const pod = await node.run("logs-rotated", { containers: [{ name: "main", command: shell(script) }] });
    const { metadata } = await pod.ready();
    const directory = `${node.lab.directory}/pods/default_${metadata.name}_${metadata.uid}/main`;
    const followed = pod.openLog("main", { follow: "true" }).then(async (response) => {
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        if (text.includes("line 3999 ")) break;
      }
      return text;
    });
    const lines = (await followed).trimEnd().split("\n");
    assert.deepEqual(lines.map((line) => Number(line.split(" ")[1])), Array.from({ length: 4000 }, (_, i) => i));
    const files = await until("a rotated log", async () => {
      const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
      return names.some((name) => name.startsWith("0.log.")) ? names : undefined;
    });
    assert.ok(files.includes("0.log") && files.length <= 3, files.join());
    await pod.delete();
  }),
  check("logs: long lines come out whole", async (node) => {
    const command = shell("head -c 50000 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 100000");
    const pod = await node.run("logs-long", { containers: [{ name: "main", command }] });
    await pod.ready();
    await until("the end", async () => (await pod.log("main")).endsWith("end\n") || undefined);
    assert.equal(await pod.log("main"), `${"x".repeat(50_000)}\nend\n`);
    await pod.delete();
  }),
  check("logs: /var/log/containers leads to them", async (node) => {
    const pod = await node.run("logs-link", {
      containers: [{ name: "main", command: shell("echo linked; sleep 1000") }],
    });
    const { metadata } = await pod.ready();
    const id = await pod.containerId("main");
    const link = `/var/log/containers/${metadata.name}_default_main-${id}.log`;
    assert.match(await Deno.readTextFile(link), /stdout F linked$/m);
    await pod.delete();
    await node.gone(link);
  }),
  check("exec: many at once do not hear of each other", async (node) => {
    const pod = await node.run("exec-many", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const numbers = Array.from({ length: 25 }, (_, i) => i);
    const all = await Promise.all(numbers.map((i) => pod.exec("main", shell(`echo ${i}; exit ${i}`))));
    assert.deepEqual(all, numbers.map((i) => ({ stdout: `${i}\n`, stderr: "", exitCode: i })));
    await pod.delete();
  }),
];
