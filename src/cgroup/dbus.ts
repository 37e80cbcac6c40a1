import { CancelledError } from "../base/errors.ts";
import {
  DbusReader,
  decodeMessage,
  encodeCall,
  ERROR,
  type IncomingMessage,
  messageLength,
  type MethodCall,
  RETURN,
  SIGNAL,
} from "./dbus_message.ts";

/** Signals that nobody has asked for yet; older ones are dropped. */
const MAX_SIGNALS = 1000;
const READ_BYTES = 16 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** One client's connection to a message bus, for a few calls one after the other. Nothing reads between calls. */
export class DbusConnection implements Disposable {
  #serial = 0;
  #input = new Uint8Array(0);
  readonly #signals: IncomingMessage[] = [];
  readonly #stopListening: () => void;
  #isClosed = false;

  private constructor(private readonly socket: Deno.UnixConn, private readonly signal: AbortSignal) {
    const onAbort = (): void => this[Symbol.dispose]();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#stopListening = (): void => signal.removeEventListener("abort", onAbort);
  }

  /**
   * Connects as this process's user.
   *
   * @param options.signal ends the connection
   * @throws Error when there is no bus, or it does not want us
   */
  static async connect(path: string, { signal }: { signal: AbortSignal }): Promise<DbusConnection> {
    signal.throwIfAborted();
    const connection = new DbusConnection(await Deno.connect({ transport: "unix", path }), signal);
    try {
      await connection.#authenticate();
      await connection.call({ ...BUS, member: "Hello" });
      return connection;
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  /** Has the bus hand on the signals that a rule of D-Bus names. */
  async addMatch(rule: string): Promise<void> {
    await this.call({ ...BUS, member: "AddMatch", signature: "s", body: (writer) => writer.string(rule) });
  }

  /** Calls a method and waits for its answer. @throws Error with the words of the error that it answers */
  async call(call: MethodCall): Promise<IncomingMessage> {
    const serial = ++this.#serial;
    await this.#write(encodeCall(call, serial));
    for (;;) {
      const message = await this.#next();
      if (message.type === SIGNAL) {
        this.#signals.push(message);
        if (this.#signals.length > MAX_SIGNALS) this.#signals.shift();
      }
      if (message.replySerial !== serial) continue;
      if (message.type === RETURN) return message;
      if (message.type === ERROR) throw new Error(errorText(message));
    }
  }

  /** The first signal since the connection was made that is wanted. */
  async waitSignal(isWanted: (message: IncomingMessage) => boolean): Promise<IncomingMessage> {
    for (;;) {
      const message = this.#signals.shift() ?? await this.#next();
      if (message.type === SIGNAL && isWanted(message)) return message;
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopListening();
    this.socket.close();
  }

  async #authenticate(): Promise<void> {
    const identity = [...encoder.encode(String(Deno.uid()))].map((byte) => byte.toString(16)).join("");
    await this.#write(encoder.encode(`\0AUTH EXTERNAL ${identity}\r\n`));
    let answer = "";
    while (!answer.endsWith("\r\n")) {
      answer += decoder.decode(await this.#read());
    }
    if (!answer.startsWith("OK ")) throw new Error(`D-Bus: the bus refuses us: ${answer.trim()}`);
    await this.#write(encoder.encode("BEGIN\r\n"));
  }

  async #next(): Promise<IncomingMessage> {
    for (;;) {
      const length = messageLength(this.#input);
      if (length !== undefined && length <= this.#input.length) {
        const message = decodeMessage(this.#input.slice(0, length));
        this.#input = this.#input.slice(length);
        return message;
      }
      const more = await this.#read();
      const joined = new Uint8Array(this.#input.length + more.length);
      joined.set(this.#input);
      joined.set(more, this.#input.length);
      this.#input = joined;
    }
  }

  async #read(): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = new Uint8Array(READ_BYTES);
    const length = await this.#unlessAborted(this.socket.read(buffer));
    if (length === null) throw new Error("D-Bus: the bus closed the connection");
    return buffer.slice(0, length);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#unlessAborted(this.socket.write(bytes.subarray(at)));
  }

  /** A socket that was closed for the signal fails in its own words. */
  async #unlessAborted<T>(io: Promise<T>): Promise<T> {
    try {
      return await io;
    } catch (error) {
      if (!this.signal.aborted) throw error;
      throw this.signal.reason ?? new CancelledError("D-Bus: cancelled");
    }
  }
}

const BUS = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
} as const;

function errorText({ errorName = "an error without a name", signature, body }: IncomingMessage): string {
  const text = signature.startsWith("s") ? new DbusReader(body).string() : "";
  return text === "" ? errorName : text;
}
