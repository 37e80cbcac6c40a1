import {
  DbusReader,
  DbusWriter,
  decodeMessage,
  type IncomingMessage,
  messageLength,
} from "../../src/cgroup/dbus_message.ts";

/** What a fake bus sends for a call: an answer, an error, signals; in this order. */
export type Outgoing =
  | { readonly kind: "return"; readonly text?: string }
  | { readonly kind: "error"; readonly name: string; readonly text: string }
  | { readonly kind: "jobRemoved"; readonly job: string; readonly unit: string; readonly result: string };

/** A message bus with systemd behind it that says what a test wants. */
export class FakeBus implements AsyncDisposable {
  readonly calls: IncomingMessage[] = [];
  answer: (call: IncomingMessage) => readonly Outgoing[] = () => [{ kind: "return" }];
  readonly #serving: Promise<void>;

  private constructor(readonly path: string, private readonly listener: Deno.UnixListener) {
    this.#serving = this.#serve();
  }

  static open(directory: string): FakeBus {
    const path = `${directory}/bus`;
    return new FakeBus(path, Deno.listen({ transport: "unix", path }));
  }

  /** The members that were called. */
  get members(): (string | undefined)[] {
    return this.calls.map(({ member }) => member);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.listener.close();
    await this.#serving;
  }

  async #serve(): Promise<void> {
    const clients: Promise<void>[] = [];
    try {
      for await (const client of this.listener) clients.push(this.#talk(client).catch(() => {}));
    } finally {
      await Promise.all(clients);
    }
  }

  async #talk(client: Deno.UnixConn): Promise<void> {
    using _client = client;
    let input = new Uint8Array(0);
    const more = async (): Promise<boolean> => {
      const buffer = new Uint8Array(4096);
      const length = await client.read(buffer);
      if (length === null) return false;
      input = new Uint8Array([...input, ...buffer.subarray(0, length)]);
      return true;
    };
    const line = async (): Promise<string> => {
      while (!input.includes(10)) if (!(await more())) return "";
      const end = input.indexOf(10) + 1;
      const text = new TextDecoder().decode(input.subarray(0, end));
      input = input.slice(end);
      return text;
    };
    const hello = await line();
    if (hello !== `\0AUTH EXTERNAL ${identity()}\r\n`) return;
    await client.write(new TextEncoder().encode("OK 0123\r\n"));
    if (await line() !== "BEGIN\r\n") return;
    for (;;) {
      const length = messageLength(input);
      if (length === undefined || length > input.length) {
        if (!(await more())) return;
        continue;
      }
      const call = decodeMessage(input.slice(0, length));
      const serial = new DbusReader(input, 8).uint32();
      input = input.slice(length);
      this.calls.push(call);
      for (const message of this.answer(call)) await this.#send(client, encode(message, serial));
    }
  }

  /** In pieces: a reader must not count on whole messages. */
  async #send(client: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
    const HALF = Math.floor(bytes.length / 2);
    for (const part of [bytes.subarray(0, HALF), bytes.subarray(HALF)]) await client.write(part);
  }
}

function identity(): string {
  return [...String(Deno.uid())].map((digit) => digit.charCodeAt(0).toString(16)).join("");
}

function encode(outgoing: Outgoing, serial: number): Uint8Array {
  const body = new DbusWriter();
  const fields: Array<readonly [number, "s" | "u" | "g" | "o", string | number]> = [];
  let type = 2;
  if (outgoing.kind === "return") {
    fields.push([5, "u", serial]);
    if (outgoing.text !== undefined) fields.push([8, "g", "o"]);
    if (outgoing.text !== undefined) body.string(outgoing.text);
  } else if (outgoing.kind === "error") {
    type = 3;
    fields.push([4, "s", outgoing.name], [5, "u", serial], [8, "g", "s"]);
    body.string(outgoing.text);
  } else {
    type = 4;
    fields.push([1, "o", "/org/freedesktop/systemd1"], [3, "s", "JobRemoved"], [8, "g", "uoss"]);
    body.uint32(7);
    for (const text of [outgoing.job, outgoing.unit, outgoing.result]) body.string(text);
  }
  const message = new DbusWriter();
  message.raw(new Uint8Array([0x6c, type, 0, 1]));
  message.uint32(body.length);
  message.uint32(99);
  message.array(8, () => {
    for (const [code, kind, value] of fields) {
      message.pad(8);
      message.byte(code);
      message.signature(kind);
      if (kind === "u") message.uint32(Number(value));
      else if (kind === "g") message.signature(String(value));
      else message.string(String(value));
    }
  });
  message.pad(8);
  message.raw(body.bytes());
  return message.bytes();
}
