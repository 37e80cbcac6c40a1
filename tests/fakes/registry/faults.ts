import type { HttpReply, HttpRequest } from "./http.ts";

/** What goes wrong with an answer. */
export type Effect =
  /** Another status; e.g. 429 with `retry-after`. */
  | {
    readonly kind: "status";
    readonly status: number;
    readonly headers?: Record<string, string>;
    readonly body?: string;
  }
  /** TCP reset: before the status line, or after so many body bytes. */
  | { readonly kind: "reset"; readonly afterBytes?: number }
  /** The connection is closed after so many body bytes. */
  | { readonly kind: "truncate"; readonly afterBytes: number }
  /** Silence after so many body bytes (default: not even a status line), until one side closes. */
  | { readonly kind: "stall"; readonly afterBytes?: number }
  | { readonly kind: "slow"; readonly bytesPerSecond: number }
  /** One byte in the middle differs; the length is right. */
  | { readonly kind: "corrupt" }
  /** Claims this Content-Length, sends the real body, closes. */
  | { readonly kind: "length"; readonly claimedBytes: number }
  /** White space behind the body up to this size: a huge but valid JSON document. */
  | { readonly kind: "pad"; readonly toBytes: number }
  /** Headers added or replaced, e.g. a wrong docker-content-digest. */
  | { readonly kind: "headers"; readonly headers: Record<string, string> }
  /** Anything else. */
  | {
    readonly kind: "custom";
    readonly change: (reply: HttpReply, request: HttpRequest) => HttpReply | Promise<HttpReply>;
  };

/** A fault and the requests that it hits. */
export interface Fault {
  /** Part of the path, or a pattern for it. Default: all. */
  readonly path?: string | RegExp;
  /** Default: all. */
  readonly method?: string;
  /** Which of the matching requests, counted from 1. Default: all of them. */
  readonly nth?: number | readonly number[];
  readonly effect: Effect;
}

/** The faults of one server; the first that fits a request is applied. */
export class FaultPlan {
  readonly #faults: { fault: Fault; seen: number }[] = [];

  add(fault: Fault): void {
    this.#faults.push({ fault, seen: 0 });
  }

  clear(): void {
    this.#faults.length = 0;
  }

  async apply(request: HttpRequest, reply: HttpReply): Promise<HttpReply> {
    let hit: Effect | undefined;
    for (const entry of this.#faults) {
      if (!concerns(entry.fault, request)) continue;
      entry.seen++;
      if (hit === undefined && isTurn(entry.fault.nth, entry.seen)) hit = entry.fault.effect;
    }
    if (hit === undefined) return reply;
    return hit.kind === "custom" ? await hit.change(reply, request) : changed(reply, hit);
  }
}

function concerns(fault: Fault, request: HttpRequest): boolean {
  if (fault.method !== undefined && fault.method !== request.method) return false;
  if (fault.path === undefined) return true;
  return typeof fault.path === "string" ? request.path.includes(fault.path) : fault.path.test(request.path);
}

function isTurn(nth: number | readonly number[] | undefined, turn: number): boolean {
  if (nth === undefined) return true;
  return typeof nth === "number" ? nth === turn : nth.includes(turn);
}

function changed(reply: HttpReply, effect: Exclude<Effect, { kind: "custom" }>): HttpReply {
  switch (effect.kind) {
    case "status":
      return {
        status: effect.status,
        headers: { "content-type": "application/json", ...effect.headers },
        body: new TextEncoder().encode(effect.body ?? "{}"),
      };
    case "reset":
      return { ...reply, stopAfterBytes: effect.afterBytes ?? -1, stopBy: "reset" };
    case "truncate":
      return { ...reply, stopAfterBytes: effect.afterBytes, stopBy: "close" };
    case "stall":
      return { ...reply, stopAfterBytes: effect.afterBytes ?? -1, stopBy: "stall" };
    case "slow":
      return { ...reply, bytesPerSecond: effect.bytesPerSecond };
    case "corrupt":
      return { ...reply, body: corrupted(reply.body ?? new Uint8Array()) };
    case "length":
      return { ...reply, claimedLength: effect.claimedBytes };
    case "pad":
      return { ...reply, body: padded(reply.body ?? new Uint8Array(), effect.toBytes) };
    case "headers":
      return { ...reply, headers: { ...reply.headers, ...effect.headers } };
  }
}

function corrupted(body: Uint8Array): Uint8Array {
  // Not slice(): that of a Buffer is a view.
  const copy = new Uint8Array(body);
  const middle = copy.length >> 1;
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
}

function padded(body: Uint8Array, toBytes: number): Uint8Array {
  const SPACE = 0x20;
  const copy = new Uint8Array(Math.max(toBytes, body.length)).fill(SPACE);
  copy.set(body);
  return copy;
}
