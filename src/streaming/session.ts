import type { IncomingHttpHeaders } from "node:http";
import type { Duplex } from "node:stream";
import type {
  AttachStreamRequest,
  ExecStreamRequest,
  PortForwardStreamRequest,
  ProcessStreams,
  StreamHandlers,
} from "./handlers.ts";
import { type Forward, serveSpdyForward, serveWebSocketForward } from "./port_forward.ts";
import {
  negotiateSpdyCommand,
  negotiateSpdyForward,
  negotiateWebSocketCommand,
  negotiateWebSocketForward,
  type Negotiation,
} from "./protocols.ts";
import { serveSpdyCommand, serveWebSocketCommand } from "./remote_command.ts";
import { acceptKey, WebSocketTunnel } from "./websocket.ts";

/** What a token stands for. */
export type StreamRequest =
  | { readonly kind: "exec"; readonly request: ExecStreamRequest }
  | { readonly kind: "attach"; readonly request: AttachStreamRequest }
  | { readonly kind: "portforward"; readonly request: PortForwardStreamRequest };

/** A connection whose client wants to leave HTTP. */
export interface Upgrade {
  readonly socket: Duplex;
  readonly headers: IncomingHttpHeaders;
  readonly request: StreamRequest;
}

const STREAM_VERSION = "X-Stream-Protocol-Version";
const WEBSOCKET_VERSION = "13";

/** Agrees on a protocol, then serves the request to its end. Resolves when nothing more is to be written. */
export async function serveSession(upgrade: Upgrade, handlers: StreamHandlers): Promise<void> {
  const { socket, headers } = upgrade;
  const upgrades = (headers.upgrade ?? "").toLowerCase().split(",").map((name) => name.trim());
  if (upgrades.includes("websocket")) return await serveWebSocket(upgrade, handlers);
  if (upgrades.includes("spdy/3.1")) return await serveSpdy(upgrade, handlers);
  answer(socket, { status: "400 Bad Request", body: `unable to upgrade: to ${headers.upgrade ?? "nothing"}` });
}

async function serveSpdy({ socket, headers, request }: Upgrade, handlers: StreamHandlers): Promise<void> {
  const header = single(headers["x-stream-protocol-version"]);
  if (request.kind === "portforward") {
    const agreed = chosen(socket, negotiateSpdyForward(header));
    if (agreed === undefined) return;
    switchToSpdy(socket, agreed.name);
    return await serveSpdyForward(socket, forwardOf(request.request, handlers));
  }
  const agreed = chosen(socket, negotiateSpdyCommand(header));
  if (agreed === undefined) return;
  switchToSpdy(socket, agreed.name);
  const { version } = agreed;
  await serveSpdyCommand(socket, { wanted: request.request, version, run: runOf(request, handlers) });
}

async function serveWebSocket({ socket, headers, request }: Upgrade, handlers: StreamHandlers): Promise<void> {
  const key = single(headers["sec-websocket-key"]);
  if (key === undefined || single(headers["sec-websocket-version"]) !== WEBSOCKET_VERSION) {
    const body = "unable to upgrade: WebSocket needs version 13 and a key";
    return answer(socket, {
      status: "400 Bad Request",
      body,
      headers: [`Sec-WebSocket-Version: ${WEBSOCKET_VERSION}`],
    });
  }
  const header = single(headers["sec-websocket-protocol"]);
  if (request.kind === "portforward") {
    const agreed = chosen(socket, negotiateWebSocketForward(header));
    if (agreed === undefined) return;
    switchToWebSocket(socket, { key, name: agreed.name });
    const forward = forwardOf(request.request, handlers);
    if (agreed.kind === "tunnel") return await serveSpdyForward(new WebSocketTunnel(socket), forward);
    return await serveWebSocketForward(socket, { ports: request.request.ports, format: agreed.format, forward });
  }
  const agreed = chosen(socket, negotiateWebSocketCommand(header));
  if (agreed === undefined) return;
  switchToWebSocket(socket, { key, name: agreed.name });
  const { version, format } = agreed;
  await serveWebSocketCommand(socket, { wanted: request.request, version, format, run: runOf(request, handlers) });
}

function runOf(
  asked: Exclude<StreamRequest, { kind: "portforward" }>,
  handlers: StreamHandlers,
): (streams: ProcessStreams) => Promise<number> {
  if (asked.kind === "exec") return (streams) => handlers.exec(asked.request, streams);
  return async (streams) => {
    await handlers.attach(asked.request, streams);
    return 0;
  };
}

function forwardOf({ sandboxId }: PortForwardStreamRequest, handlers: StreamHandlers): Forward {
  return (port, client, options) => handlers.portForward({ sandboxId, port }, client, options);
}

/** Tells a client with which we share no protocol so: 403 and our list, as Kubernetes' library does. */
function chosen<T>(socket: Duplex, negotiation: Negotiation<T>): T | undefined {
  if ("chosen" in negotiation) return negotiation.chosen;
  const { offered, known } = negotiation;
  answer(socket, {
    status: "403 Forbidden",
    headers: known.map((name) => `X-Accepted-Stream-Protocol-Versions: ${name}`),
    body: `unable to upgrade: unable to negotiate protocol: client supports ${JSON.stringify(offered)}, ` +
      `server accepts ${JSON.stringify(known)}`,
  });
  return undefined;
}

function switchToSpdy(socket: Duplex, protocol: string): void {
  const version = protocol === "" ? [] : [`${STREAM_VERSION}: ${protocol}`];
  socket.write(head("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: SPDY/3.1", ...version]));
}

function switchToWebSocket(socket: Duplex, { key, name }: { key: string; name: string }): void {
  const protocol = name === "" ? [] : [`Sec-WebSocket-Protocol: ${name}`];
  const accept = `Sec-WebSocket-Accept: ${acceptKey(key)}`;
  socket.write(head("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: websocket", accept, ...protocol]));
}

function answer(
  socket: Duplex,
  { status, body, headers = [] }: { status: string; body: string; headers?: readonly string[] },
): void {
  const bytes = new TextEncoder().encode(`${body}\n`);
  const plain = ["Connection: close", "Content-Type: text/plain; charset=utf-8", `Content-Length: ${bytes.length}`];
  socket.write(head(status, [...plain, ...headers]));
  socket.end(bytes);
}

function head(status: string, headers: readonly string[]): string {
  return [`HTTP/1.1 ${status}`, ...headers, "", ""].join("\r\n");
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(",") : header;
}
