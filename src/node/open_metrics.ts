/** The daemon's own metrics and their server, from the configuration. */
import { InvalidArgumentError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";
import { type DaemonObserver, Metrics, noMetrics } from "../metrics/metrics.ts";
import { serveMetrics } from "../metrics/server.ts";
import { TlsFiles } from "../streaming/tls_files.ts";
import { resolves } from "../linux/exists.ts";
import { processProbes } from "./process_probes.ts";

interface MetricsDeps {
  /** Closes the server. */
  readonly stack: AsyncDisposableStack;
  readonly log: Logger;
}

/** @throws InvalidArgumentError for TLS files that cannot be used */
export async function openMetrics(config: Config, { stack, log }: MetricsDeps): Promise<DaemonObserver> {
  const { enableMetrics, metricsCollectors, metricsHost: host, metricsPort: port, metricsSocket: socket } =
    config.metrics;
  if (!enableMetrics) return noMetrics;
  const metrics = await Metrics.create({ collectors: metricsCollectors, probes: processProbes() });
  stack.use(metrics.watchEventLoop());
  const tls = await openTls(config, { stack, log });
  stack.use(await serveMetrics({ host, port, socket, ...(tls === undefined ? {} : { tls }) }, { metrics, log }));
  return metrics;
}

async function openTls({ metrics, api }: Config, { stack, log }: MetricsDeps): Promise<TlsFiles | undefined> {
  const { metricsCert: certFile, metricsKey: keyFile, metricsHost } = metrics;
  if (certFile === "" && keyFile === "") return undefined;
  if (certFile === "" || keyFile === "") {
    throw new InvalidArgumentError("metrics_cert and metrics_key belong together: set both, or none for plain HTTP");
  }
  if (!await resolves(certFile) && !await resolves(keyFile)) {
    const encoder = new TextEncoder();
    const { selfSigned } = await import("../metrics/self_signed.ts");
    const names = [Deno.hostname(), "localhost", "127.0.0.1", metricsHost].filter((name) => /^[\w.-]+$/.test(name));
    const pair = await selfSigned([...new Set(names)]);
    await writeFileAtomic(keyFile, encoder.encode(pair.key), { mode: 0o600 });
    await writeFileAtomic(certFile, encoder.encode(pair.cert), { mode: 0o644 });
    log.warn(`metrics_cert ${certFile} was not there: a self-signed certificate has been made`);
  }
  const minVersion = api.tlsMinVersion === "VersionTLS13" ? "TLSv1.3" : "TLSv1.2";
  const server = { name: "metrics", options: "metrics_" };
  return stack.use(await TlsFiles.open({ certFile, keyFile, caFile: "", minVersion, server }, log));
}
