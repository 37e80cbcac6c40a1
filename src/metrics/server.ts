import type { Logger } from "../base/logger.ts";
import type { Metrics } from "./metrics.ts";

export interface MetricsServerOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** A unix socket that serves the same; empty: none. A file that is there is replaced. */
  readonly socket: string;
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
  const tcp = servers.use(Deno.serve({ hostname: options.host, port: options.port, onListen, handler }));
  if (options.socket !== "") {
    await Deno.remove(options.socket).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    servers.use(Deno.serve({ path: options.socket, onListen, handler }));
    await Deno.chmod(options.socket, 0o660);
  }
  deps.log.info("Serving metrics", { address: `${options.host}:${tcp.addr.port}`, socket: options.socket });
  const open = servers.move();
  return { port: tcp.addr.port, [Symbol.asyncDispose]: () => open.disposeAsync() };
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
