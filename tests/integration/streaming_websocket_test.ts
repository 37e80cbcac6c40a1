import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { runCommand } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import type { ExecStreamRequest } from "../../src/streaming/handlers.ts";
import { SpdyEncoder, SpdyParser } from "../../src/streaming/spdy_frames.ts";
import { OPCODE } from "../../src/streaming/websocket_frames.ts";
import { startServer, upgrade } from "./streaming_fixture.ts";

openLibraries();

const EXEC: ExecStreamRequest = {
  containerId: "c",
  command: ["sh"],
  tty: false,
  stdin: true,
  stdout: true,
  stderr: true,
};
const CLOSE_STDIN = Uint8Array.of(255, 0);

/** Masks with zeros: what is sent stays readable, and the codec's own tests mask in earnest. */
function frame(opcode: number, payload: Uint8Array): Buffer {
  const size = payload.length;
  const head = size < 126 ? Buffer.from([0x80 | opcode, 0x80 | size]) : Buffer.from([0x80 | opcode, 0xfe, 0, 0]);
  if (size >= 126) head.writeUInt16BE(size, 2);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

interface Message {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** All messages until the server closes. Server frames are whole and unmasked. */
async function messages(socket: Socket, onMessage: (message: Message) => void = () => {}): Promise<Message[]> {
  const all: Message[] = [];
  let bytes: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Uint8Array) => {
    bytes = Buffer.concat([bytes, chunk]);
    for (;;) {
      if (bytes.length < 2) return;
      const short = bytes.readUInt8(1);
      const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < headBytes) return;
      const size = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < headBytes + size) return;
      const message = { opcode: bytes.readUInt8(0) & 0xf, payload: bytes.subarray(headBytes, headBytes + size) };
      bytes = bytes.subarray(headBytes + size);
      all.push(message);
      onMessage(message);
    }
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("error", () => {}).once("close", resolve).once("end", () => socket.destroy());
  socket.resume();
  await promise;
  return all;
}

async function dial(url: string, protocol: string): Promise<Socket> {
  const { socket, head } = await upgrade(url, {
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": protocol,
  });
  assert.match(head, /^HTTP\/1\.1 101 /);
  assert.ok(head.includes("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), head);
  return socket;
}

function channel(all: readonly Message[], number: number): string {
  const mine = all.filter(({ opcode, payload }) => opcode === OPCODE.binary && payload[0] === number);
  return Buffer.concat(mine.map(({ payload }) => payload.subarray(1))).toString();
}

const ECHO = {
  exec: async (
    _request: ExecStreamRequest,
    { stdin, stdout }: { stdin?: AsyncIterable<unknown>; stdout?: { write(text: string): unknown } },
  ): Promise<number> => {
    const input = Buffer.concat(await Array.fromAsync(stdin ?? []) as Uint8Array[]).toString();
    stdout?.write(`got ${input}`);
    return 3;
  },
};

Deno.test("exec over WebSocket v5 closes stdin by signal and ends with a status", async () => {
  await using server = await startServer(ECHO);
  const socket = await dial(server.execUrl(EXEC), "v5.channel.k8s.io");
  socket.write(frame(OPCODE.binary, Buffer.from("\0hello ")));
  socket.write(frame(OPCODE.ping, Buffer.from("p")));
  socket.write(frame(OPCODE.binary, Buffer.from("\0there")));
  // Nobody reads channels 9 and 1 here.
  socket.write(frame(OPCODE.binary, Buffer.from("\x09nobody")));
  socket.write(frame(OPCODE.binary, Buffer.from("\x01nobody")));
  socket.write(frame(OPCODE.binary, CLOSE_STDIN));
  const all = await messages(socket);
  assert.deepEqual([...all[0]?.payload ?? []], [1], "an empty message says that the connection is set up");
  assert.equal(channel(all, 1), "got hello there");
  assert.equal(JSON.parse(channel(all, 3)).details.causes[0].message, "3");
  assert.ok(all.some(({ opcode, payload }) => opcode === OPCODE.pong && payload.toString() === "p"));
  assert.equal(all.at(-1)?.opcode, OPCODE.close);
  assert.equal(all.at(-1)?.payload.readUInt16BE(0), 1000);
});

Deno.test("exec over WebSocket in base64", async () => {
  await using server = await startServer({
    exec: async (_request, { stdin, stdout }) => {
      for await (const chunk of stdin ?? []) {
        stdout?.write(chunk);
        break;
      }
      return 0;
    },
  });
  const socket = await dial(server.execUrl(EXEC), "v4.base64.channel.k8s.io");
  const text = "0" + Buffer.from("some text").toString("base64");
  const bytes = Buffer.concat([frame(OPCODE.text, Buffer.from(text))]);
  for (const byte of bytes) socket.write(Uint8Array.of(byte));
  const seen = (await messages(socket)).filter(({ opcode }) => opcode === OPCODE.text).map((m) => m.payload.toString());
  assert.equal(seen[0], "1");
  const stdout = seen.filter((message) => message.startsWith("1")).map((message) => message.slice(1)).join("");
  assert.equal(Buffer.from(stdout, "base64").toString(), "some text");
  const status = seen.filter((message) => message.startsWith("3")).map((message) => message.slice(1)).join("");
  assert.equal(JSON.parse(Buffer.from(status, "base64").toString()).status, "Success");
});

Deno.test("port-forward over WebSocket channels begins with the port and carries both directions", async () => {
  await using server = await startServer({
    portForward: async ({ port }, client) => {
      if (port === 9) throw new Error("refused");
      const { promise, resolve } = Promise.withResolvers<void>();
      client.once("data", (chunk: Uint8Array) => client.write(`${port} ${chunk}`, () => resolve()));
      await promise;
    },
  });
  const url = server.portForwardUrl({ sandboxId: "s", ports: [8080, 9] });
  const socket = await dial(url, "v4.channel.k8s.io");
  socket.write(frame(OPCODE.binary, Buffer.from("\0ping")));
  const all = await messages(socket);
  assert.equal(channel(all, 0), "\x90\x1f8080 ping".replace("\x90", "\ufffd"));
  assert.equal(channel(all, 3).slice(2), "error forwarding port 9: refused");
});

Deno.test("port-forward over WebSocket channels closes behind its last byte, be it data or the reason of a failure", async () => {
  const much = Buffer.alloc(3 * 1024 * 1024, "x");
  await using server = await startServer({
    portForward: ({ port }, client) => {
      if (port === 9) return Promise.reject(new Error("refused"));
      client.write(much);
      return Promise.resolve();
    },
  });
  const refused = await dial(server.portForwardUrl({ sandboxId: "s", ports: [9] }), "v4.channel.k8s.io");
  assert.equal(channel(await messages(refused), 1).slice(2), "error forwarding port 9: refused");
  const large = await dial(server.portForwardUrl({ sandboxId: "s", ports: [80] }), "v4.channel.k8s.io");
  assert.equal(channel(await messages(large), 0).length, 2 + much.length);
});

Deno.test("port-forward through the tunnel is SPDY inside binary messages", async () => {
  await using server = await startServer({
    portForward: async (_target, client) => {
      client.pipe(client);
      await new Promise((done) => client.once("end", done));
    },
  });
  const socket = await dial(server.portForwardUrl({ sandboxId: "s", ports: [] }), "SPDY/3.1+portforward.k8s.io");
  const spdy = new SpdyEncoder();
  const parser = new SpdyParser();
  const ids = { port: "80", requestid: "7" };
  let seen = "";
  const done = messages(socket, ({ opcode, payload }) => {
    if (opcode !== OPCODE.binary) return;
    for (const got of parser.parse(payload)) {
      if (got.kind !== "data" || got.id !== 3) continue;
      seen += Buffer.from(got.payload).toString();
      if (got.fin) socket.write(frame(OPCODE.close, new Uint8Array()));
    }
  });
  const sent = Buffer.concat([
    spdy.synStream(1, new Map([["streamtype", "error"], ...Object.entries(ids)])),
    spdy.data(1, new Uint8Array(), { fin: true }),
    spdy.synStream(3, new Map([["streamtype", "data"], ...Object.entries(ids)])),
    spdy.data(3, Buffer.from("through the tunnel")),
    spdy.data(3, new Uint8Array(), { fin: true }),
  ]);
  for (let at = 0; at < sent.length; at += 50) socket.write(frame(OPCODE.binary, sent.subarray(at, at + 50)));
  await done;
  assert.equal(seen, "through the tunnel");
});

Deno.test("a WebSocket client that breaks the protocol gets code 1002", async () => {
  await using server = await startServer({
    exec: async (_request, { signal }) => {
      if (!signal.aborted) await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
      return 0;
    },
  });
  const socket = await dial(server.execUrl(EXEC), "v4.channel.k8s.io");
  socket.write(Buffer.from([0x82, 0x01, 0x41]));
  const last = (await messages(socket)).at(-1);
  assert.equal(last?.opcode, OPCODE.close);
  assert.equal(last?.payload.readUInt16BE(0), 1002);
});

Deno.test("with TLS and a CA only clients with a certificate get in", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const { ca, server: own, client } = await certificates(directory);
    await using server = await startServer(ECHO, {
      tls: { certFile: own.cert, keyFile: own.key, caFile: ca.cert },
    });
    assert.match(server.url, /^https:/);
    const [caText, cert, key] = await Promise.all([ca.cert, client.cert, client.key].map((p) => Deno.readTextFile(p)));
    const open = (own: object) => (target: { host: string; port: number }): Socket =>
      connectTls({ ...target, ca: caText, ...own } as never) as unknown as Socket;
    const headers = { Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io" };
    const { socket, head } = await upgrade(server.execUrl(EXEC), headers, open({ cert, key }));
    assert.match(head, /^HTTP\/1\.1 101 /);
    socket.destroy();
    await assert.rejects(upgrade(server.execUrl(EXEC), headers, open({})));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

type Files = { readonly cert: string; readonly key: string };

async function certificates(directory: string): Promise<Record<"ca" | "server" | "client", Files>> {
  const files = (name: string): Files => ({ cert: `${directory}/${name}.crt`, key: `${directory}/${name}.key` });
  const [ca, server, client] = [files("ca"), files("server"), files("client")];
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const openssl = async (...args: string[]): Promise<void> => {
    await runCommand(["/usr/bin/openssl", ...args]);
  };
  await openssl("req", "-x509", ...newKey, "-keyout", ca.key, "-out", ca.cert, "-subj", "/CN=ca", "-days", "2");
  await Deno.writeTextFile(`${directory}/names`, "subjectAltName=IP:127.0.0.1\n");
  for (const { cert, key } of [server, client]) {
    await openssl("req", ...newKey, "-keyout", key, "-out", `${cert}.csr`, "-subj", "/CN=127.0.0.1");
    await openssl(
      ...["x509", "-req", "-in", `${cert}.csr`, "-out", cert, "-days", "2", "-CA", ca.cert, "-CAkey", ca.key],
      ...["-CAcreateserial", "-extfile", `${directory}/names`],
    );
  }
  return { ca, server, client };
}
