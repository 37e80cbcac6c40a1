import type { IncomingMessage, ServerResponse } from "node:http";
import { type ErrorKind, firstFailure, messageOf, PodError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { containerDocument, infoDocument, sandboxDocument } from "./_documents.ts";
import { archivesDocument } from "./_archives.ts";
import { imagesDocument, podsDocument, statsDocument } from "./_node_documents.ts";
import { NodeEvents } from "./_node_events.ts";
import { pullDocument, PullEvents } from "./_pulls.ts";
import type { StatusDeps } from "./types.ts";

/** Answers one HTTP/1.1 request; what node:http calls a request listener. */
export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * The HTTP API on the CRI socket: `/info`, `/containers/:id`, `/config`, `/pause/:id`, `/unpause/:id`, `/debug`,
 * `/debug/goroutines`, `/debug/heap`; ours: `POST /reload`, `/archives`, `/pods`, `/images`, `/stats`, `/pulls` (a stream of events for who accepts
 * `text/event-stream`) and `/events`.
 *
 * Paths, documents, codes and texts are CRI-O's; cAdvisor reads the first two. Requests that change something are
 * refused when a browser sent them (an `Origin` header).
 */
export function createStatusHandler(deps: StatusDeps & { readonly log: Logger }): RequestListener {
  const pulls = new PullEvents(deps);
  const events = new NodeEvents(deps);
  return (request, response) => {
    const path = request.method === "GET" ? pathOf(request) : "";
    if (path === "/pulls" && acceptsEvents(request)) return pulls.add(response);
    if (path === "/events") return events.add(response);
    if (path === "/debug/heap" && request.headers.origin === undefined) return void sendHeap(deps, response);
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    answer(deps, request, gone.signal).then(
      (reply) => send(response, reply, { head: request.method === "HEAD" }),
      (error) => {
        deps.log.error("request on the socket failed", { path: request.url ?? "", error: messageOf(error) });
        send(response, plain(HTTP_STATUS[kindOf(error)], messageOf(error)), { head: false });
      },
    );
  };
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

type Route = (deps: StatusDeps, id: string, signal: AbortSignal) => Reply | Promise<Reply>;

const ROUTES: Readonly<Record<string, Route>> = {
  info: (deps) => json(infoDocument(deps.info())),
  config: (deps) => ({ status: 200, type: "application/toml", body: deps.configToml() }),
  pods: (deps) => json(JSON.stringify(podsDocument(deps.node))),
  images: async (deps, _, signal) => json(JSON.stringify(await imagesDocument(deps.node, signal))),
  stats: async (deps, _, signal) => json(JSON.stringify(await statsDocument(deps.node, signal))),
  debug: async (deps) => json(JSON.stringify(await (await debug()).debugDocument(deps.debug()), undefined, 2)),
  "debug/": activityReply,
  reload: reloadReply,
  pulls: (deps) => json(JSON.stringify({ pulls: deps.pulls.list().map(pullDocument) })),
  archives: (deps) => json(JSON.stringify(archivesDocument(deps.archives.status()))),
  "containers/": containerReply,
  "pause/": (deps, id, signal) => changeState(deps, { id, from: "running", signal, change: deps.pause }),
  "unpause/": (deps, id, signal) => changeState(deps, { id, from: "paused", signal, change: deps.unpause }),
};
const CHANGING: ReadonlySet<string> = new Set(["reload", "pause/", "unpause/"]);

async function answer(deps: StatusDeps, request: IncomingMessage, signal: AbortSignal): Promise<Reply> {
  const match =
    /^\/(info|config|pods|images|stats|archives|reload|debug|pulls|debug\/|containers\/|pause\/|unpause\/)([^/]*)$/
      .exec(
        pathOf(request),
      );
  const name = match?.[1] ?? "";
  const route = ROUTES[name];
  const id = decoded(match?.[2] ?? "");
  if (route === undefined || (id === "") === name.endsWith("/")) return plain(404, "404 page not found");
  if (name === "reload") {
    if (request.method !== "POST") return plain(405, "only POST");
  } else if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET");
  if (CHANGING.has(name) && (request.method === "HEAD" || request.headers.origin !== undefined)) {
    return plain(403, "state changes from a web page are refused");
  }
  return await route(deps, id, signal);
}

function pathOf(request: IncomingMessage): string {
  // Clients that take a socket for a proxy send the absolute form (RFC 9112, 3.2.2).
  return (request.url ?? "").replace(/^https?:\/\/[^/]*/i, "").split(/[?#]/, 1)[0] ?? "";
}

function acceptsEvents(request: IncomingMessage): boolean {
  const accepted = (request.headers.accept ?? "").split(",").map((type) => type.split(";", 1)[0]?.trim().toLowerCase());
  return accepted.includes("text/event-stream");
}

/** Loaded when somebody looks. */
function debug(): Promise<typeof import("./_debug.ts")> {
  return import("./_debug.ts");
}

async function activityReply(deps: StatusDeps, name: string): Promise<Reply> {
  if (name === "heap") return plain(403, "a heap snapshot for a web page is refused");
  if (name !== "goroutines") return plain(404, "404 page not found");
  return { status: 200, type: "text/plain; charset=utf-8", body: await (await debug()).activityText(deps.debug()) };
}

async function sendHeap(deps: { readonly log: Logger }, response: ServerResponse): Promise<void> {
  try {
    deps.log.info("A heap snapshot was asked for");
    (await debug()).sendHeap(response);
  } catch (error) {
    send(response, plain(500, messageOf(error)), { head: false });
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % names nothing that exists
  }
}

/** The daemon has logged the outcome. */
async function reloadReply(deps: StatusDeps): Promise<Reply> {
  try {
    return json(JSON.stringify(await deps.reload()));
  } catch (error) {
    return plain(HTTP_STATUS[kindOf(error)], messageOf(error));
  }
}

async function containerReply(deps: StatusDeps, id: string): Promise<Reply> {
  const container = deps.findContainer(id);
  const sandbox = deps.findSandbox(container?.sandboxId ?? id);
  if (container !== undefined) {
    if (sandbox === undefined) return plain(404, `can't find the sandbox for container id ${id}`);
    return json(containerDocument(container, { sandbox, rootfs: await deps.rootOf(container) }));
  }
  if (sandbox === undefined) return plain(404, `can't find the container with id ${id}`);
  return json(sandboxDocument(sandbox, { processIn: deps.processIn(sandbox.id) }));
}

interface StateChange {
  readonly id: string;
  readonly from: "running" | "paused";
  readonly signal: AbortSignal;
  change(id: string, options: { readonly signal: AbortSignal }): Promise<void>;
}

async function changeState(deps: StatusDeps, { id, from, signal, change }: StateChange): Promise<Reply> {
  const container = deps.findContainer(id);
  if (container === undefined) return plain(404, `can't find the container with id ${id}`);
  if (container.state !== from) {
    return plain(409, `container is not in ${from} state, now is ${container.state}`);
  }
  await change.call(deps, container.id, { signal });
  return { status: 200, type: "text/html", body: "200 OK" };
}

function json(body: string): Reply {
  return { status: 200, type: "application/json", body };
}

function plain(status: number, message: string): Reply {
  return { status, type: "text/plain; charset=utf-8", body: `${message}\n` };
}

function send(response: ServerResponse, { status, type, body }: Reply, options: { head: boolean }): void {
  if (response.destroyed) return;
  const headers = { "content-type": type, "content-length": new TextEncoder().encode(body).length };
  response.writeHead(status, { ...headers, "x-content-type-options": "nosniff" });
  response.end(options.head ? undefined : body);
}

const HTTP_STATUS: Readonly<Record<ErrorKind, number>> = {
  not_found: 404,
  already_exists: 409,
  invalid_argument: 400,
  failed_precondition: 409,
  resource_exhausted: 503,
  unavailable: 503,
  registry_unavailable: 503,
  signature_validation_failed: 500,
  permission_denied: 403,
  unimplemented: 501,
  deadline_exceeded: 504,
  cancelled: 499,
  data_loss: 500,
  internal: 500,
};

function kindOf(thrown: unknown): ErrorKind {
  const first = firstFailure(thrown);
  return first instanceof PodError ? first.kind : "internal";
}
