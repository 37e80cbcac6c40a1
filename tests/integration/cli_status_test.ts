// deno-lint-ignore-file no-control-regex
/** Each command of `crio status`, the real program against a daemon's HTTP API with a made-up node behind it. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createServer } from "node:http";
import { silentLogger } from "../../src/base/logger.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import { createStatusHandler } from "../../src/status/handler.ts";
import type { StatusDeps } from "../../src/status/types.ts";
import { fakeContainer, FakeNode } from "../fakes/node_view.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface Daemon {
  readonly node: FakeNode;
  readonly directory: string;
  readonly stop: AbortController;
  crio(...args: string[]): Promise<Result>;
  start(...args: string[]): Deno.ChildProcess;
}

function argvOf(socket: string, args: readonly string[]): string[] {
  return ["run", "-A", "--no-check", MAIN, "status", "--socket", socket, ...args];
}

async function withDaemon(body: (daemon: Daemon) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "crio-status-" });
  const [node, stop] = [new FakeNode(), new AbortController()];
  const deps = {
    ...{ node, pulls: new RunningPulls(), signal: stop.signal, log: silentLogger },
    info: () => ({ storageDriver: "overlay", storageRoot: "/s", storageImage: "", cgroupDriver: "systemd" }),
    configToml: () => '[crio]\nroot = "/s"\n',
    debug: () => ({ containers: 1, running: [] }),
  } as unknown as StatusDeps;
  const server = createServer(createStatusHandler({ ...deps, log: silentLogger }));
  const socket = `${directory}/crio.sock`;
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const decoder = new TextDecoder();
  try {
    await body({
      ...{ node, directory, stop },
      crio: async (...args) => {
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: argvOf(socket, args),
          cwd: directory,
        }).output();
        return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
      },
      start: (...args) =>
        new Deno.Command(Deno.execPath(), { args: argvOf(socket, args), stdin: "null", stdout: "piped" }).spawn(),
    });
  } finally {
    stop.abort();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("crio status info, config, pods, containers and images print text, and JSON with --json", async () => {
  await withDaemon(async ({ node, crio }) => {
    node.containerRecords.set("c2", fakeContainer("c2", "p1", { state: "exited", exitCode: 3, finishedAtNanos: "1" }));
    match((await crio("info")).out, /^cgroup driver: systemd\nstorage driver: overlay\n/);
    equal(JSON.parse((await crio("info", "--json")).out).storage_root, "/s");
    equal((await crio("info", "--timeout", "1000h")).code, 0, "longer than a timer can be");
    equal((await crio("config")).out, '[crio]\nroot = "/s"\n');
    deepEqual(JSON.parse((await crio("--json", "c")).out), { crio: { root: "/s" } });
    match((await crio("pods")).out, /^POD ID .*\np1 +default +pod-p1 +ready +\S+ +1\/2 +10\.88\.0\.7,fd00::7\n$/);
    equal(JSON.parse((await crio("po", "-j")).out).pods[0].containers.length, 2);
    const containers = (await crio("containers")).out;
    match(containers, /^CONTAINER ID .*\nc1 +ctr-c1 +2 +running .*\nc2 +ctr-c2 +2 +exited \(3\) .* default\/pod-p1\n$/);
    match(
      (await crio("images")).out,
      /^IMAGE .*\ndocker\.io\/library\/busybox:latest +i{13} +1\.2 MB +in use, pinned\n$/,
    );
    equal(JSON.parse((await crio("images", "--json")).out).images[0].size, 1_234_567);
  });
});

Deno.test("crio status top shows rates of pods once when it is no terminal, and as JSON", async () => {
  await withDaemon(async ({ crio }) => {
    const { code, out } = await crio("top", "--interval", "1s");
    equal(code, 0);
    match(
      out,
      /^1 pods, (?:49|50)\.\d % of \d+ CPUs, 5\.0 MiB memory, at \d\d:\d\d:\d\d UTC\nCPU % .*\n *(?:49|50)\.\d +5\.0 MiB +2\.0 MiB +2\.0 MiB/,
    );
    const { pods } = JSON.parse((await crio("top", "-n", "1s", "--sort", "name", "--json")).out);
    ok(Math.abs(pods[0].cpu_percent - 50) < 0.5, JSON.stringify(pods));
    equal((await crio("top", "--sort", "size")).code, 2);
  });
});

Deno.test("crio status top draws anew on a terminal", async () => {
  await withDaemon(async ({ directory }) => {
    const line = [Deno.execPath(), ...argvOf(`${directory}/crio.sock`, ["top", "-n", "1s"])].join(" ");
    const child = new Deno.Command("/usr/bin/script", {
      args: ["--quiet", "--return", "--command", `stty cols 40 rows 10; exec ${line}`, "/dev/null"],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if ([...text.matchAll(/\x1b\[H\x1b\[J/g)].length >= 3) break;
    }
    child.kill("SIGTERM");
    await child.status;
    match(text, /1 pods, 0\.0 % of/);
    match(text, /1 pods, (?:49|50)\.\d % of/);
    const rows = text.split(/\r?\n/).map((row) => row.replace(/\x1b\[[0-9]*[A-Z]/g, ""));
    deepEqual(rows.filter((row) => row.length >= 40), []);
  });
});

Deno.test("crio status events prints a line for each change until the daemon stops", async () => {
  await withDaemon(async ({ node, stop, start }) => {
    for (
      const [args, expected] of [
        [["events"], /^\S+Z {2}container exited {2}c1 {2}default\/pod-p1\/ctr-c1 exit code 3, out of memory\n$/],
        [
          ["e", "--json"],
          /^\{"kind":"container","at":".*","type":"exited","id":"c1",.*"exit_code":3,"oom_killed":true/,
        ],
      ] as const
    ) {
      const child = start(...args);
      while (node.watchers < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      const running = fakeContainer("c1", "p1");
      node.changeContainer({ ...running, state: "exited", exitCode: 3, oomKilled: true }, running);
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      match((await reader.read()).value ?? "", expected);
      if (args.length === 1) child.kill("SIGTERM");
      else stop.abort();
      await reader.cancel();
      const { code } = await child.status;
      if (args.length > 1) equal(code, 0);
      while (args.length === 1 && node.watchers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
});

Deno.test("crio status events ends when nobody reads it any more, and leaves its place to others", async () => {
  await withDaemon(async ({ node, start }) => {
    const child = start("events");
    while (node.watchers < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await child.stdout.cancel();
    const running = fakeContainer("c1", "p1");
    node.changeContainer({ ...running, state: "exited" }, running);
    const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
    equal((await child.status).code, 0);
    clearTimeout(late);
    while (node.watchers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

Deno.test("crio status goroutines and heap show what the daemon does and holds", async () => {
  await withDaemon(async ({ directory, crio }) => {
    match((await crio("goroutines")).out, /^pid \d+, up \d+ s\noperations running: 0\n/);
    ok(JSON.parse((await crio("g", "--json")).out).openHandles.total > 3);
    equal((await crio("heap", "--file", "h")).out, "wrote h\n");
    const { mode, size } = await Deno.stat(`${directory}/h`);
    equal((mode ?? 0) & 0o777, 0o600);
    ok(size > 100_000);
    ok(JSON.parse((await crio("hp", "-f", "-")).out).snapshot.meta.node_fields.length > 0);
  });
});

Deno.test("crio status --timeout ends a wait for a daemon that says nothing", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-silent-" });
  using listener = Deno.listen({ transport: "unix", path: `${directory}/crio.sock` });
  const output = new Deno.Command(Deno.execPath(), {
    args: argvOf(`${directory}/crio.sock`, ["--timeout", "200ms", "pods"]),
  }).output();
  using connection = await listener.accept();
  ok(connection);
  const { code, stderr } = await output;
  equal(code, 1);
  match(
    new TextDecoder().decode(stderr),
    /^crio: GET \/pods on .*: out of time after 200 ms while waiting for the daemon; --timeout gives it longer\n$/,
  );
  await Deno.remove(directory, { recursive: true });
});
