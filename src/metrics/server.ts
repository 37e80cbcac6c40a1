import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Logger } from "../base/logger.ts";
import type { Metrics } from "./metrics.ts";

export interface MetricsServerOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** A unix socket that serves the same; empty: none. A file that is there is replaced. */
  readonly socket: string;
  /** Absent: plain HTTP. The socket never speaks TLS. */
  readonly tls?: TlsSource;
}

/** Certificate and key of the server, as node:https takes them; they may change. */
export interface TlsSource {
  settings(): object;
  watch(apply: (settings: object) => void): void;
}

/** A running metrics endpoint; disposing closes it. */
export interface MetricsServer extends AsyncDisposable {
  /** The TCP port. */
  readonly port: number;
}

/**
 * Serves `GET /metrics` over TCP and, where asked for, on a unix socket.
 *
 * @throws Deno.errors.AddrInUse and others of `Deno.serve` when it cannot listen
 */
export async function serveMetrics(
  options: MetricsServerOptions,
  deps: { readonly metrics: Pick<Metrics, "text" | "contentType">; readonly log: Logger },
): Promise<MetricsServer> {
  await using servers = new AsyncDisposableStack();
  const handler = (request: Request): Promise<Response> => answer(request, deps);
  const onListen = (): void => {};
  const { host: hostname, port: wanted, tls } = options;
  const port = tls === undefined
    ? servers.use(Deno.serve({ hostname, port: wanted, onListen, handler })).addr.port
    : await serveTls({ hostname, port: wanted, tls }, { handler, servers });
  if (options.socket !== "") {
    await Deno.remove(options.socket).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    servers.use(Deno.serve({ path: options.socket, onListen, handler }));
    await Deno.chmod(options.socket, 0o660);
  }
  deps.log.info("Serving metrics", { address: `${hostname}:${port}`, socket: options.socket, tls: tls !== undefined });
  const open = servers.move();
  return { port, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** By node:https, which knows a lowest version of TLS and takes new certificates while it runs. Gives the port. */
async function serveTls(
  options: { readonly hostname: string; readonly port: number; readonly tls: TlsSource },
  { handler, servers }: { handler: (request: Request) => Promise<Response>; servers: AsyncDisposableStack },
): Promise<number> {
  const { createServer } = await import("node:https");
  const reply = (request: IncomingMessage, response: ServerResponse): void => {
    respond(request, response, handler).catch(() => {
      // Thrown here it would end the daemon: a target or a method that no `Request` can have, of whoever reaches the port.
      if (!response.headersSent) response.writeHead(400);
      response.end();
    });
  };
  const server = createServer(options.tls.settings(), reply) as Server & { setSecureContext(settings: object): void };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // For good: later ones are of single connections, and end the process when nobody listens.
  server.on("error", reject);
  server.listen({ port: options.port, host: options.hostname }, resolve);
  await promise;
  servers.defer(() => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(() => closed()));
  });
  options.tls.watch((settings) => server.setSecureContext(settings));
  return (server.address() as AddressInfo).port;
}

async function respond(
  { url = "/", method = "GET" }: IncomingMessage,
  response: ServerResponse,
  handler: (request: Request) => Promise<Response>,
): Promise<void> {
  const answer = await handler(new Request(`https://crio${url}`, { method }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.end(method === "HEAD" ? undefined : await answer.text());
}

async function answer(
  request: Request,
  deps: { readonly metrics: Pick<Metrics, "text" | "contentType">; readonly log: Logger },
): Promise<Response> {
  if (new URL(request.url).pathname !== "/metrics") return new Response("try /metrics\n", { status: 404 });
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("only GET\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  try {
    return new Response(await deps.metrics.text(), { headers: { "content-type": deps.metrics.contentType } });
  } catch (error) {
    deps.log.error("metrics could not be collected", { error: String(error) });
    return new Response("metrics could not be collected\n", { status: 500 });
  }
}
