import { doesNotMatch, match, ok, rejects, strictEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { Metrics, noMetrics } from "../../../src/metrics/metrics.ts";
import { serveMetrics } from "../../../src/metrics/server.ts";

Deno.test("Metrics.observe() counts operations, failures and durations", async () => {
  const metrics = await Metrics.create();
  const failed = true;
  metrics.observe("StopContainer", 250, !failed);
  metrics.observe("StopContainer", 750, failed);
  const text = await metrics.text();
  match(text, /^container_runtime_crio_operations_total\{operation="StopContainer"\} 2$/m);
  match(text, /^container_runtime_crio_operations_errors_total\{operation="StopContainer"\} 1$/m);
  match(text, /^container_runtime_crio_operations_latency_seconds\{operation="StopContainer"\} 0\.75$/m);
  match(
    text,
    /^container_runtime_crio_operations_latency_seconds_total\{quantile="0\.99",operation="StopContainer"\} 0\.75$/m,
  );
  match(text, /^container_runtime_crio_operations_latency_seconds_total_sum\{operation="StopContainer"\} 1$/m);
  match(text, /^process_resident_memory_bytes \d{7,}$/m);
});

Deno.test("Metrics.create() offers only the collectors that are named", async () => {
  const metrics = await Metrics.create({
    collectors: ["container_runtime_crio_operations_total", "crio_operations_errors_total"],
  });
  metrics.observe("Version", 1, Math.random() < 2);
  const text = await metrics.text();
  match(text, /operations_total\{/);
  match(text, /operations_errors_total\{/);
  doesNotMatch(text, /latency/);
});

Deno.test("noMetrics takes observations", () => {
  strictEqual(noMetrics.observe("Version", 1, Math.random() < 0), undefined);
});

Deno.test("serveMetrics() answers on TCP and on a socket, and closes both", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-metrics-" });
  const socket = `${directory}/metrics.sock`;
  await Deno.writeTextFile(socket, "left over");
  const metrics = await Metrics.create();
  let base = "";
  {
    await using server = await serveMetrics({ host: "127.0.0.1", port: 0, socket }, { metrics, log: silentLogger });
    base = `http://127.0.0.1:${server.port}`;
    const answer = await fetch(`${base}/metrics`);
    match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    match(await answer.text(), /# TYPE container_runtime_crio_operations_total counter/);
    strictEqual((await discarded(fetch(`${base}/other`))).status, 404);
    strictEqual((await discarded(fetch(`${base}/metrics`, { method: "POST" }))).status, 405);
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
    ok((await discarded(fetch("http://crio/metrics", { client }))).ok);
    strictEqual(((await Deno.stat(socket)).mode ?? 0) & 0o777, 0o660);
  }
  await rejects(fetch(`${base}/metrics`));
  await Deno.remove(directory, { recursive: true });
});

async function discarded(answer: Promise<Response>): Promise<Response> {
  const response = await answer;
  await response.body?.cancel();
  return response;
}
