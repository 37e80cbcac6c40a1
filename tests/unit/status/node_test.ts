import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { silentLogger } from "../../../src/base/logger.ts";
import { RunningPulls } from "../../../src/image/progress/running_pulls.ts";
import { createStatusHandler } from "../../../src/status/handler.ts";
import type { StatusDeps } from "../../../src/status/types.ts";
import { fakeContainer, FakeNode, fakePod } from "../../fakes/node_view.ts";

async function serve(body: (url: string, node: FakeNode, stop: AbortController) => Promise<void>): Promise<void> {
  const node = new FakeNode();
  const stop = new AbortController();
  const debug = (): Record<string, unknown> => ({
    containers: 1,
    running: [{ key: "stop c1", stage: "waiting", elapsedMs: 12.3 }],
  });
  const deps = { node, pulls: new RunningPulls(), signal: stop.signal, debug } as unknown as StatusDeps;
  const server = createServer(createStatusHandler({ ...deps, log: silentLogger }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await body(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, node, stop);
  } finally {
    stop.abort();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const get = async (url: string, init: RequestInit = {}): Promise<Response> =>
  await fetch(url, { ...init, headers: { connection: "close", ...init.headers } });

Deno.test("GET /pods gives pods with their containers, and how those ended", async () => {
  await serve(async (url, node) => {
    const end = { state: "exited" as const, exitCode: 137, oomKilled: true, finishedAtNanos: "1795463221123456789" };
    node.containerRecords.set("c2", fakeContainer("c2", "p1", { ...end, message: "killed" }));
    node.podRecords.set("p2", fakePod("p2", { state: "not_ready", ips: [] }));
    const { pods } = await (await get(`${url}/pods`)).json();
    deepEqual(pods.map(({ id, name, state }: Record<string, string>) => [id, name, state]), [
      ["p1", "pod-p1", "ready"],
      ["p2", "pod-p2", "not_ready"],
    ]);
    const [running, exited] = pods[0].containers;
    deepEqual([running.name, running.pid, running.started_at], ["ctr-c1", 4711, "2026-11-23T19:47:00.123Z"]);
    deepEqual([exited.exit_code, exited.oom_killed, exited.message], [137, true, "killed"]);
    equal(exited.finished_at, "2026-11-23T19:47:01.123Z");
    deepEqual(pods[1].containers, []);
  });
});

Deno.test("GET /images and /stats tell what there is and what it uses", async () => {
  await serve(async (url) => {
    const { images } = await (await get(`${url}/images`)).json();
    deepEqual([images[0].size, images[0].pinned, images[0].in_use], [1_234_567, true, true]);
    const { pods, cpus } = await (await get(`${url}/stats`)).json();
    ok(cpus >= 1);
    deepEqual([pods[0].name, pods[0].memory_working_set, pods[0].containers], ["pod-p1", 5 * 1024 * 1024, 1]);
    ok(pods[0].cpu_nanoseconds > 0 && pods[0].network.rx_bytes === pods[0].network.tx_bytes);
  });
});

Deno.test("GET /events tells each change of state once, and stops watching with the last client", async () => {
  await serve(async (url, node, stop) => {
    const response = await fetch(`${url}/events`);
    equal(response.headers.get("content-type"), "text/event-stream");
    const [pod, made] = [fakePod("p3"), fakeContainer("c3", "p3", { state: "created" })];
    node.changePod(fakePod("p3", { state: "creating" }));
    node.changePod(pod, fakePod("p3", { state: "creating" }));
    node.changePod({ ...pod, ips: [] }, pod);
    node.changeContainer(made, { ...made, state: "creating" });
    node.changeContainer({ ...made, state: "running" }, made);
    node.changeContainer({ ...made, state: "paused" }, { ...made, state: "running" });
    node.changeContainer({ ...made, state: "running" }, { ...made, state: "paused" });
    const ended = { ...made, state: "exited" as const, exitCode: 3 };
    node.changeContainer(ended, { ...made, state: "running" });
    node.changePod({ ...pod, state: "not_ready" }, pod);
    node.changeContainer(undefined, ended);
    node.changePod(undefined, { ...pod, state: "not_ready" });
    equal(node.watchers, 2);
    stop.abort();
    const text = await response.text();
    const events = [...text.matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, kind, data = ""]) => ({
      kind,
      ...JSON.parse(data),
    }));
    deepEqual(events.map(({ kind, type }) => `${kind} ${type}`), [
      "pod created",
      "container created",
      "container started",
      "container paused",
      "container resumed",
      "container exited",
      "pod stopped",
      "container removed",
      "pod removed",
    ]);
    deepEqual([events[5].exit_code, events[5].pod, events[5].namespace], [3, "pod-p3", "default"]);
    equal(node.watchers, 0);
  });
});

Deno.test("GET /events has ended for a client that reads nothing, too, when the daemon stops", async () => {
  await serve(async (url, node, stop) => {
    const response = await fetch(`${url}/events`);
    const made = fakeContainer("c3", "p1", { state: "created" });
    stop.abort();
    equal(node.watchers, 0);
    node.changeContainer({ ...made, state: "running" }, made);
    match(await response.text(), /^: from now on\n\n$/);
    const late = await get(`${url}/events`);
    equal(late.status, 503);
    await late.body?.cancel();
  });
});

Deno.test("GET /debug/goroutines says what runs, /debug/heap is a snapshot that no web page gets", async () => {
  await serve(async (url) => {
    const text = await (await get(`${url}/debug/goroutines`)).text();
    match(text, /^operations running: 1\n {2}stop c1: waiting, for 12 ms$/m);
    equal((await get(`${url}/debug/heap`, { headers: { origin: "http://evil" } })).status, 403);
    equal((await get(`${url}/debug/what`)).status, 404);
    const heap = await (await get(`${url}/debug/heap`)).json();
    ok(heap.nodes.length > 1000);
  });
});
