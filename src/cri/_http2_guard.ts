import http2 from "node:http2";

/** The part of a session that is guarded. */
interface Session {
  readonly closed: boolean;
  readonly destroyed: boolean;
  close(callback?: () => void): void;
  destroy(...reason: unknown[]): void;
  once(event: "close", listener: () => void): unknown;
}

/**
 * Makes the sessions of HTTP/2 servers that are created while `create` runs end outside of nghttp2's callbacks.
 *
 * Deno 2.9.6 frees a session at once when a GOAWAY arrives for it, while nghttp2 is still working on that frame: the
 * process then aborts or crashes (denoland/deno#36788). Every Go client says GOAWAY when it leaves. One turn of the
 * event loop later nothing of the session is in use.
 */
export function withGuardedSessions<T>(create: () => T): T {
  const original = http2.createServer;
  http2.createServer = ((...args: Parameters<typeof original>) => {
    const server = original(...args);
    server.on("session", guard);
    return server;
  }) as typeof original;
  try {
    return create();
  } finally {
    http2.createServer = original;
  }
}

function guard(session: Session): void {
  const { close, destroy } = session;
  session.close = (callback): void => {
    if (session.closed || session.destroyed) return;
    if (callback !== undefined) session.once("close", callback);
    setImmediate(() => close.call(session));
  };
  session.destroy = (...reason): void => void setImmediate(() => destroy.apply(session, reason));
}
