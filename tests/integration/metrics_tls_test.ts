import { equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { buildConfig } from "../../src/config/build.ts";
import { loadValues } from "../../src/config/load.ts";
import { selfSigned } from "../../src/metrics/self_signed.ts";
import { openMetrics } from "../../src/node/open_metrics.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";

openLibraries();

async function openssl(...args: readonly string[]): Promise<{ ok: boolean; text: string }> {
  const { success, stdout, stderr } = await new Deno.Command("openssl", { args: [...args], stdin: "null" }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { ok: success, text };
}

/** What another program agrees on with the server: `Cipher is …`, `(NONE)` when there is nothing. */
async function agreed(port: number, ...args: readonly string[]): Promise<string> {
  const { text } = await openssl("s_client", "-connect", `127.0.0.1:${port}`, ...args);
  return /Cipher is (.*)/.exec(text)?.[1] ?? "nothing";
}

async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await use(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Serves metrics with these lines of crio.conf; gives the port and what was logged. */
async function serve(
  toml: string,
  use: (server: { port: number; lines: readonly string[]; next: (text: RegExp) => Promise<void> }) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    await Deno.writeTextFile(
      `${directory}/crio.conf`,
      `[crio.metrics]\nenable_metrics = true\nmetrics_port = 0\n${toml}`,
    );
    const values = await loadValues({ configPath: `${directory}/crio.conf`, configDir: "", storageConfPaths: [] });
    const lines: string[] = [];
    let [port, wake] = [0, Promise.withResolvers<void>()];
    const note = (message: string, fields: { address?: unknown } = {}): void => {
      lines.push(message);
      if (fields.address !== undefined) port = Number(String(fields.address).split(":").at(-1));
      wake.resolve();
      wake = Promise.withResolvers();
    };
    const log: Logger = { ...silentLogger, info: note as Logger["info"], warn: note, error: note };
    await using stack = new AsyncDisposableStack();
    await openMetrics(buildConfig(values), { stack, log });
    const next = async (text: RegExp): Promise<void> => {
      while (!lines.some((line) => text.test(line))) await wake.promise;
    };
    await use({ port, lines, next });
  });
}

Deno.test("selfSigned() makes what openssl takes for a certificate of these names, signed by itself", async () => {
  await inDirectory(async (directory) => {
    for (let round = 0; round < 20; round++) {
      const { cert, key } = await selfSigned(["node-1", "localhost", "127.0.0.1"], { days: 30 });
      await Deno.writeTextFile(`${directory}/cert`, cert);
      await Deno.writeTextFile(`${directory}/key`, key);
      const verified = await openssl(
        "verify",
        "-CAfile",
        `${directory}/cert`,
        "-verify_ip",
        "127.0.0.1",
        `${directory}/cert`,
      );
      match(verified.text, /cert: OK/);
      const { text } = await openssl(
        "x509",
        "-in",
        `${directory}/cert`,
        "-noout",
        "-text",
        "-checkend",
        `${29 * 86_400}`,
      );
      match(text, /DNS:node-1, DNS:localhost, IP Address:127\.0\.0\.1/);
      match(text, /Certificate will not expire/);
      const keys = await Promise.all([
        openssl("x509", "-in", `${directory}/cert`, "-noout", "-pubkey"),
        openssl("pkey", "-in", `${directory}/key`, "-pubout"),
      ]);
      equal(keys[0].text, keys[1].text);
    }
  });
});

Deno.test("metrics over TLS: a pair is made where none is, is kept, and changes while the server runs", async () => {
  await inDirectory(async (directory) => {
    const [cert, key] = [`${directory}/tls.crt`, `${directory}/tls.key`];
    const toml = `metrics_cert = "${cert}"\nmetrics_key = "${key}"\n`;
    await serve(toml, async ({ port, lines, next }) => {
      match(lines.join("\n"), /a self-signed certificate has been made/);
      equal(((await Deno.stat(key)).mode ?? 0) & 0o777, 0o600);
      const first = await Deno.readTextFile(cert);
      const read = async (caCerts: string[]): Promise<string> => {
        using client = Deno.createHttpClient({ caCerts });
        return await (await fetch(`https://localhost:${port}/metrics`, { client })).text();
      };
      match(await read([first]), /container_runtime_crio_operations_total/);
      notEqual(await agreed(port, "-tls1_2"), "(NONE)");
      const other = await selfSigned(["localhost"]);
      await Deno.writeTextFile(key, other.key);
      await Deno.writeTextFile(cert, other.cert);
      await next(/TLS files of the metrics server have been read again/);
      match(await read([other.cert]), /container_runtime_crio_operations_total/);
      await rejects(read([first]));
    });
    const kept = await Deno.readTextFile(cert);
    await serve(toml, async ({ lines }) => {
      ok(!lines.join().includes("self-signed"));
      equal(await Deno.readTextFile(cert), kept);
    });
  });
});

Deno.test("metrics over TLS keep to tls_min_version, and half a pair is refused", async () => {
  await inDirectory(async (directory) => {
    const pair = `metrics_cert = "${directory}/c"\nmetrics_key = "${directory}/k"\n`;
    await serve(`${pair}[crio.api]\ntls_min_version = "VersionTLS13"\n`, async ({ port }) => {
      equal(await agreed(port, "-tls1_2"), "(NONE)");
      match(await agreed(port, "-tls1_3"), /^TLS_/);
    });
    const half = serve(`metrics_cert = "${directory}/c"\n`, () => Promise.resolve());
    await rejects(half, /metrics_cert and metrics_key belong together/);
    await Deno.remove(`${directory}/k`);
    const lost = serve(pair, () => Promise.resolve());
    await rejects(lost, /metrics_key: cannot read .*\/k/);
  });
});

Deno.test("a request that nobody should send is refused, and the daemon lives on", async () => {
  await inDirectory(async (directory) => {
    const { cert, key } = await selfSigned(["localhost"]);
    await Deno.writeTextFile(`${directory}/cert`, cert);
    await Deno.writeTextFile(`${directory}/key`, key);
    await serve(`metrics_cert = "${directory}/cert"\nmetrics_key = "${directory}/key"`, async ({ port }) => {
      const ask = async (line: string): Promise<string> => {
        const connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [cert] });
        await connection.write(new TextEncoder().encode(`${line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`));
        return (await new Response(connection.readable).text()).split("\r\n", 1)[0] ?? "";
      };
      for (const line of ["TRACE /metrics", "GET *:x", "OPTIONS *"]) match(await ask(line), /^HTTP\/1\.1 40[045] /);
      match(await ask("GET /metrics"), / 200 /);
    });
  });
});
