import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createConnection } from "node:net";
import { silentLogger } from "../../../src/base/logger.ts";
import type { Digest } from "../../../src/base/ids.ts";
import { RunningPulls } from "../../../src/image/progress/running_pulls.ts";
import { createStatusHandler } from "../../../src/status/handler.ts";
import type { StatusDeps } from "../../../src/status/types.ts";

const never = new AbortController().signal;
const LAYER = { digest: `sha256:${"a".repeat(64)}` as Digest, sizeBytes: 10, mediaType: "x" };

interface Served {
  readonly pulls: RunningPulls;
  readonly url: string;
  readonly port: number;
  readonly stop: AbortController;
}

async function serve(body: (served: Served) => Promise<void>): Promise<void> {
  const pulls = new RunningPulls();
  const stop = new AbortController();
  const deps = { pulls, signal: stop.signal, log: silentLogger } as unknown as StatusDeps;
  const server: Server = createServer(createStatusHandler({ ...deps, log: silentLogger }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await body({ pulls, port, url: `http://127.0.0.1:${port}/pulls`, stop });
  } finally {
    stop.abort();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Reads events until `count` have come. */
async function* eventsOf(response: Response): AsyncGenerator<Record<string, unknown>> {
  ok(response.body !== null);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const data = /^data: (.*)$/m.exec(text.slice(0, end))?.[1];
      text = text.slice(end + 2);
      if (data !== undefined) yield JSON.parse(data);
    }
  }
}

Deno.test("GET /pulls gives all pulls as JSON", async () => {
  await serve(async ({ pulls, url }) => {
    const pull = pulls.begin("app:1", never);
    pull.resolved({ endpoint: "https://r", layers: [LAYER], present: 0, imageBytes: 10 });
    pull.progress({ downloaded: [4], unpacked: [9], finished: [] });
    pulls.begin("bad", never).failed(new Error("no such thing"));
    const response = await fetch(url, { headers: { connection: "close" } });
    equal(response.headers.get("content-type"), "application/json");
    const [first, second] = (await response.json()).pulls;
    deepEqual([first.image, first.stage, first.endpoint], ["app:1", "downloading", "https://r"]);
    deepEqual(first.layers, [{ digest: LAYER.digest, size: 10, downloaded: 4, extracted: 9, state: "downloading" }]);
    match(first.started_at, /^\d{4}-\d\d-\d\dT/);
    deepEqual([second.stage, second.error], ["failed", "no such thing"]);
  });
});

Deno.test("GET /pulls as events gives what there is, then each change, until the daemon stops", async () => {
  await serve(async ({ pulls, url, stop }) => {
    const pull = pulls.begin("app:1", never);
    const response = await fetch(url, { headers: { accept: "text/event-stream;q=0.9" } });
    equal(response.headers.get("content-type"), "text/event-stream");
    const events = eventsOf(response);
    equal((await events.next()).value?.["stage"], "looking");
    pull.resolved({ endpoint: "https://r", layers: [LAYER], present: 0, imageBytes: 10 });
    pull.progress({ downloaded: [4], unpacked: [9], finished: [] });
    const { value } = await events.next();
    deepEqual(
      [value?.["stage"], value?.["endpoint"]],
      ["downloading", "https://r"],
      "changes of a moment are one event",
    );
    pull.succeeded("abc");
    equal((await events.next()).value?.["image_id"], "abc");
    stop.abort();
    ok((await events.next()).done);
  });
});

Deno.test("a client of /pulls that does not read is cut off, and the others go on", async () => {
  await serve(async ({ pulls, url, port }) => {
    const lazy = createConnection(port, "127.0.0.1");
    const closed = new Promise<void>((resolve) => lazy.once("close", () => resolve()));
    lazy.on("error", () => {});
    await new Promise<void>((resolve) => lazy.once("connect", () => resolve()));
    lazy.pause();
    lazy.write("GET /pulls HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n");
    const response = await fetch(url, { headers: { accept: "text/event-stream" } });
    const reader = eventsOf(response);
    // Each event is large: the kernel's buffers for the connection are full soon.
    const pull = pulls.begin("x".repeat(200_000), never);
    let seen = 0;
    const untilMs = performance.now() + 20_000;
    let isClosed = false;
    closed.then(() => isClosed = true);
    pull.resolved({ endpoint: "0", layers: [LAYER], present: 0, imageBytes: 10 });
    for (let round = 1; !isClosed && performance.now() < untilMs; round++) {
      pulls.begin(`${round} ${"y".repeat(900_000)}`, never);
      seen += Number((await reader.next()).value !== undefined);
      // What waits is seen as closed only by who reads.
      if (seen > 20) lazy.resume();
    }
    ok(isClosed, "the connection was closed by the server");
    ok(seen > 0);
    await reader.return(undefined);
  });
});

Deno.test("GET /pulls as events has room for sixteen clients", async () => {
  await serve(async ({ url }) => {
    const open = await Promise.all(
      Array.from({ length: 16 }, () => fetch(url, { headers: { accept: "text/event-stream" } })),
    );
    const refused = await fetch(url, { headers: { accept: "text/event-stream", connection: "close" } });
    equal(refused.status, 503);
    match(await refused.text(), /16 clients/);
    await Promise.all(open.map((response) => response.body?.cancel()));
  });
});
