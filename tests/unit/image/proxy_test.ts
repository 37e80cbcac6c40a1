import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import * as http from "node:http";
import * as net from "node:net";
import { once } from "node:events";
import { RegistryHost } from "../../../src/image/distribution/registry_host.ts";
import { Repository } from "../../../src/image/distribution/repository.ts";
import { Transports } from "../../../src/image/distribution/transports.ts";
import { FakeRegistry } from "../../fakes/registry.ts";

interface Proxy extends AsyncDisposable {
  readonly url: string;
  readonly seen: string[];
}

/** A forward proxy that leads every name to one port of this machine. */
async function startProxy(target: string): Promise<Proxy> {
  const seen: string[] = [];
  const sockets = new Set<net.Socket>();
  const port = Number(target.split(":")[1]);
  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
    const { pathname } = new URL(request.url ?? "");
    const headers = { ...request.headers, connection: "close" };
    const forward = http.request({ host: "127.0.0.1", port, path: pathname, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    forward.end();
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  server.on("connect", (request, socket) => {
    seen.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
    const upstream = net.connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.pipe(socket);
      socket.pipe(upstream);
    });
    sockets.add(upstream);
    upstream.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address() as net.AddressInfo;
  return {
    url: `http://user:pass@127.0.0.1:${address.port}`,
    seen,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

const LOGIN = "Basic dXNlcjpwYXNz";
const signal = new AbortController().signal;

Deno.test("a plain registry is asked through the HTTP proxy, with the proxy's credentials", async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage({ name: "app", layers: [] });
  await using proxy = await startProxy(registry.host);
  using transports = new Transports({
    proxy: { httpProxy: proxy.url, httpsProxy: "http://127.0.0.1:9" },
    certificateDirectories: [],
  });
  const host = new RegistryHost({ host: "registry.test", insecure: true, transports, retry: { baseMs: 1 } });
  ok((await new Repository(host, "app").manifest("latest", signal)).bytes.length > 0);
  deepEqual(proxy.seen, [`GET http://registry.test/v2/app/manifests/latest ${LOGIN}`]);
});

Deno.test("an insecure HTTPS registry is asked through a tunnel", async () => {
  await using registry = await FakeRegistry.start({ tls: true });
  registry.addImage({ name: "app", layers: [] });
  await using proxy = await startProxy(registry.host);
  using transports = new Transports({ proxy: { httpsProxy: proxy.url }, certificateDirectories: [] });
  const host = new RegistryHost({ host: "registry.test", insecure: true, transports, retry: { baseMs: 1 } });
  ok((await new Repository(host, "app").manifest("latest", signal)).bytes.length > 0);
  equal(proxy.seen[0], `CONNECT registry.test:443 ${LOGIN}`);
});

Deno.test("a proxy that is down is named as the reason", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  using transports = new Transports({ proxy: { httpsProxy: `http://127.0.0.1:${port}` }, certificateDirectories: [] });
  const host = new RegistryHost({ host: "registry.test", insecure: false, transports, retry: { baseMs: 1 } });
  await rejects(new Repository(host, "app").manifest("latest", signal), /refused|tunnel|proxy/i);
});
