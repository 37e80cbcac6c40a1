import type { ChannelFormat } from "./channel_socket.ts";

/** Subprotocols of exec and attach over SPDY, best first; the number decides what goes over the error stream. */
const SPDY_COMMAND: ReadonlyMap<string, number> = new Map([
  ["v4.channel.k8s.io", 4],
  ["v3.channel.k8s.io", 3],
  ["v2.channel.k8s.io", 2],
  ["channel.k8s.io", 1],
]);
const SPDY_FORWARD = "portforward.k8s.io";
/** The same SPDY connection inside the binary messages of a WebSocket. */
const TUNNEL_PREFIX = "SPDY/3.1+";

/** A subprotocol of WebSocket with channels. */
export interface WebSocketProtocol {
  readonly name: string;
  readonly version: number;
  readonly format: ChannelFormat;
}

const WEBSOCKET_COMMAND: readonly WebSocketProtocol[] = [
  channels("v5.channel.k8s.io", 5, { base64: false, closeSignal: true }),
  channels("v5.base64.channel.k8s.io", 5, { base64: true, closeSignal: false }),
  channels("v4.channel.k8s.io", 4, { base64: false, closeSignal: false }),
  channels("v4.base64.channel.k8s.io", 4, { base64: true, closeSignal: false }),
  channels("channel.k8s.io", 1, { base64: false, closeSignal: false }),
  channels("base64.channel.k8s.io", 1, { base64: true, closeSignal: false }),
];

/** Which protocol two sides use; `undefined` when they have none in common. */
export type Negotiation<T> = { readonly chosen: T } | { readonly offered: readonly string[]; readonly known: string[] };

/** SPDY exec and attach. A client that names none speaks the first version. */
export function negotiateSpdyCommand(header: string | undefined): Negotiation<{ name: string; version: number }> {
  const offered = split(header);
  if (offered.length === 0) return { chosen: { name: "", version: 1 } };
  // The client's order is its preference.
  for (const name of offered) {
    const version = SPDY_COMMAND.get(name);
    if (version !== undefined) return { chosen: { name, version } };
  }
  return { offered, known: [...SPDY_COMMAND.keys()] };
}

/** SPDY port-forward. */
export function negotiateSpdyForward(header: string | undefined): Negotiation<{ name: string }> {
  const offered = split(header);
  if (offered.length === 0) return { chosen: { name: "" } };
  if (offered.includes(SPDY_FORWARD)) return { chosen: { name: SPDY_FORWARD } };
  return { offered, known: [SPDY_FORWARD] };
}

/** WebSocket exec and attach. */
export function negotiateWebSocketCommand(header: string | undefined): Negotiation<WebSocketProtocol> {
  const offered = split(header);
  if (offered.length === 0) return { chosen: channels("", 1, { base64: false, closeSignal: false }) };
  for (const name of offered) {
    const chosen = WEBSOCKET_COMMAND.find((protocol) => protocol.name === name);
    if (chosen !== undefined) return { chosen };
  }
  return { offered, known: WEBSOCKET_COMMAND.map(({ name }) => name) };
}

/** WebSocket port-forward: channels for the ports of the request, or a SPDY connection inside. */
export function negotiateWebSocketForward(
  header: string | undefined,
): Negotiation<{ kind: "tunnel"; name: string } | { kind: "channels"; name: string; format: ChannelFormat }> {
  const offered = split(header);
  const known = [`${TUNNEL_PREFIX}${SPDY_FORWARD}`, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
  const name = offered.length === 0 ? "" : offered.find((one) => known.includes(one));
  if (name === undefined) return { offered, known };
  if (name.startsWith(TUNNEL_PREFIX)) return { chosen: { kind: "tunnel", name } };
  const format = { base64: name.includes("base64"), closeSignal: false };
  return { chosen: { kind: "channels", name, format } };
}

function split(header: string | undefined): string[] {
  return (header ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "");
}

function channels(name: string, version: number, format: ChannelFormat): WebSocketProtocol {
  return { name, version, format };
}
