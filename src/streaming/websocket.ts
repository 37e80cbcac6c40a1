import { createHash } from "node:crypto";
import { Duplex } from "node:stream";
import { ProtocolError } from "./errors.ts";
import { encodeWebSocketFrame, OPCODE, type WebSocketEvent, WebSocketParser } from "./websocket_frames.ts";

/** RFC 6455, 1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const NORMAL = 1000;
const PROTOCOL_ERROR = 1002;
/** Pongs that a client does not read. */
const MAX_UNREAD_BYTES = 256 * 1024;

/** The answer to a client's `Sec-WebSocket-Key`. */
export function acceptKey(key: string): string {
  return createHash("sha1").update(key + GUID).digest("base64");
}

/** What uses a connection. */
export interface WebSocketUser {
  /** A piece of a message. */
  receive(event: Extract<WebSocketEvent, { kind: "message" }>): void;
  /** The client has gone. Called once. */
  lost(): void;
}

/** The server's side of a WebSocket connection: pings and the closing handshake; messages are its user's. */
export class WebSocketConnection {
  readonly #parser = new WebSocketParser();
  #unreadBytes = 0;
  #isClosed = false;
  #isLost = false;

  /** @param transport the upgraded connection, which this reads, writes and destroys on an error */
  constructor(private readonly transport: Duplex, private readonly user: () => WebSocketUser) {
    transport.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    transport.on("end", () => this.#lose());
    transport.on("close", () => this.#lose());
    transport.on("error", () => this.#lose());
  }

  /** Sends one message; `done` is called when it has left. */
  send(
    message: { readonly opcode: number; readonly parts: readonly Uint8Array[] },
    done: (error?: Error | null) => void,
  ): void {
    if (this.#isClosed || this.transport.destroyed) return done(new ProtocolError("the connection is closed"));
    this.transport.write(encodeWebSocketFrame(message.opcode, ...message.parts), done);
  }

  pause(): void {
    this.transport.pause();
  }

  resume(): void {
    this.transport.resume();
  }

  /** Says good-bye; what has been written before arrives. */
  close(code: number = NORMAL): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.transport.destroyed && !this.transport.writableEnded) {
      this.transport.end(encodeWebSocketFrame(OPCODE.close, Uint8Array.of(code >> 8, code & 0xff)));
    }
    // What the client still sends is read and dropped: unread data would turn our end into a reset.
    this.transport.resume();
    this.#lose();
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    try {
      for (const event of this.#parser.parse(chunk)) this.#handle(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(PROTOCOL_ERROR);
    }
  }

  #handle(event: WebSocketEvent): void {
    if (this.#isClosed) return;
    if (event.kind === "message") this.user().receive(event);
    else if (event.kind === "ping") this.#pong(event.payload);
    else if (event.kind === "close") this.close();
  }

  #pong(payload: Uint8Array): void {
    const frame = encodeWebSocketFrame(OPCODE.pong, payload);
    this.#unreadBytes += frame.length;
    this.transport.write(frame, () => this.#unreadBytes -= frame.length);
    if (this.#unreadBytes > MAX_UNREAD_BYTES) this.transport.destroy(new ProtocolError("the client reads no answers"));
  }

  #lose(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.user().lost();
  }
}

const TUNNEL_BUFFER_BYTES = 256 * 1024;

/** A byte stream through binary messages, in which another protocol runs (`SPDY/3.1+portforward.k8s.io`). */
export class WebSocketTunnel extends Duplex {
  readonly #connection: WebSocketConnection;
  #hasEnded = false;

  constructor(transport: Duplex) {
    super({ allowHalfOpen: true, readableHighWaterMark: TUNNEL_BUFFER_BYTES });
    this.#connection = new WebSocketConnection(transport, () => ({
      receive: ({ payload }): void => {
        if (!this.destroyed && payload.length > 0 && !this.push(payload)) this.#connection.pause();
      },
      lost: (): void => {
        if (this.#hasEnded) return;
        this.#hasEnded = true;
        this.push(null);
      },
    }));
  }

  override _read(): void {
    this.#connection.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#connection.send({ opcode: OPCODE.binary, parts: [chunk] }, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#connection.close();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#hasEnded = true;
    this.#connection.close();
    done(error);
  }
}
