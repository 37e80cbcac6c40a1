import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { InvalidArgumentError, NotFoundError } from "../../src/base/errors.ts";
import type { ExecStreamRequest, TerminalSize } from "../../src/streaming/handlers.ts";
import { SpdyClient, startServer, upgrade } from "./streaming_fixture.ts";

const V4 = "v4.channel.k8s.io";
const EXEC: ExecStreamRequest = {
  containerId: "c",
  command: ["sh"],
  tty: false,
  stdin: true,
  stdout: true,
  stderr: true,
};

function openAll(client: SpdyClient): Record<"error" | "stdin" | "stdout" | "stderr", number> {
  return {
    error: client.open({ streamtype: "error" }),
    stdin: client.open({ streamtype: "stdin" }),
    stdout: client.open({ streamtype: "stdout" }),
    stderr: client.open({ streamtype: "stderr" }),
  };
}

async function text(stream: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  return Buffer.concat(await Array.fromAsync(stream ?? [])).toString();
}

Deno.test("exec over SPDY carries three streams, the half-close of stdin, and the exit code", async () => {
  await using server = await startServer({
    exec: async (request, { stdin, stdout, stderr }) => {
      const input = await text(stdin);
      stdout?.write(`${request.command.join(" ")} got ${input}`);
      stderr?.write("complaint");
      return 7;
    },
  });
  using client = await SpdyClient.connect(server.execUrl(EXEC), V4);
  const ids = openAll(client);
  await client.write(ids.stdin, "hello");
  client.finish(ids.stdin);
  assert.equal(await client.all(ids.stdout), "sh got hello");
  assert.equal(await client.all(ids.stderr), "complaint");
  const status = JSON.parse(await client.all(ids.error));
  assert.deepEqual(status.details.causes, [{ reason: "ExitCode", message: "7" }]);
  await client.goneAway;
  await client.closed;
});

Deno.test("exec over SPDY with version 1 gives a failure as text", async () => {
  await using server = await startServer({ exec: () => Promise.reject(new NotFoundError("container", "x")) });
  using client = await SpdyClient.connect(server.execUrl({ ...EXEC, stdin: false, stderr: false }), "channel.k8s.io");
  const error = client.open({ streamtype: "error" });
  client.open({ streamtype: "stdout" });
  assert.equal(await client.all(error), 'container "x" not found');
});

Deno.test("a token works once; unknown ones and those of another kind do not", async () => {
  await using server = await startServer({ exec: () => Promise.resolve(0) });
  const url = server.execUrl({ ...EXEC, stdin: false, stderr: false });
  using client = await SpdyClient.connect(url, V4);
  const again = await upgrade(url, { Upgrade: "SPDY/3.1" });
  assert.match(again.head, /^HTTP\/1\.1 404 /);
  again.socket.destroy();
  const other = await upgrade(server.execUrl(EXEC).replace("/exec/", "/attach/"), { Upgrade: "SPDY/3.1" });
  assert.match(other.head, /^HTTP\/1\.1 404 /);
  other.socket.destroy();
  const plain = await fetch(server.execUrl(EXEC));
  assert.equal(plain.status, 400);
  await plain.body?.cancel();
  client.socket.destroy();
});

Deno.test("a client with which no protocol is shared hears which ones there are", async () => {
  await using server = await startServer({});
  const { socket, head } = await upgrade(server.execUrl(EXEC), {
    Upgrade: "SPDY/3.1",
    "X-Stream-Protocol-Version": "v99.channel.k8s.io",
  });
  assert.match(head, /^HTTP\/1\.1 403 /);
  assert.match(head, /X-Accepted-Stream-Protocol-Versions: v4\.channel\.k8s\.io/);
  socket.destroy();
});

Deno.test("URLs are refused for requests that make no sense", async () => {
  await using server = await startServer({});
  assert.throws(() => server.execUrl({ ...EXEC, tty: true }), InvalidArgumentError);
  assert.throws(() => server.execUrl({ ...EXEC, command: [] }), InvalidArgumentError);
  assert.throws(() => server.attachUrl({ ...EXEC, stdin: false, stdout: false, stderr: false }), InvalidArgumentError);
  assert.throws(() => server.portForwardUrl({ sandboxId: "s", ports: [0] }), InvalidArgumentError);
});

Deno.test("a terminal's sizes arrive, the one before the listener included", async () => {
  const sizes: TerminalSize[] = [];
  const { promise: second, resolve } = Promise.withResolvers<void>();
  await using server = await startServer({
    exec: async (_request, { onResize, stdin }) => {
      onResize((size) => {
        if (sizes.push(size) === 2) resolve();
      });
      await text(stdin);
      return 0;
    },
  });
  using client = await SpdyClient.connect(server.execUrl({ ...EXEC, tty: true, stderr: false }), V4);
  const error = client.open({ streamtype: "error" });
  const stdin = client.open({ streamtype: "stdin" });
  client.open({ streamtype: "stdout" });
  const resize = client.open({ streamtype: "resize" });
  await client.write(resize, '{"Width":80,"Height":24}\n');
  await client.write(resize, '{"Width":100,"Height":30}\n');
  await second;
  client.finish(stdin);
  assert.equal(JSON.parse(await client.all(error)).status, "Success");
  assert.deepEqual(sizes, [{ width: 80, height: 24 }, { width: 100, height: 30 }]);
});

Deno.test("a handler hears that its client has gone", async () => {
  const { promise: started, resolve } = Promise.withResolvers<void>();
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  await using server = await startServer({
    exec: async (_request, { signal }) => {
      resolve();
      if (!signal.aborted) await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
      leave();
      return 0;
    },
  });
  using client = await SpdyClient.connect(server.execUrl(EXEC), V4);
  openAll(client);
  await started;
  client.socket.destroy();
  await gone;
});

Deno.test("output waits for a client that does not read", async () => {
  let written = 0;
  const { promise: stuck, resolve } = Promise.withResolvers<void>();
  const TOTAL = 64 * 1024 * 1024;
  await using server = await startServer({
    exec: async (_request, { stdout }) => {
      const chunk = Buffer.alloc(64 * 1024, 1);
      while (written < TOTAL && stdout !== undefined) {
        written += chunk.length;
        if (stdout.write(chunk)) continue;
        const timer = setTimeout(resolve, 300);
        await new Promise((done) => stdout.once("drain", done));
        clearTimeout(timer);
      }
      return 0;
    },
  });
  using client = await SpdyClient.connect(server.execUrl({ ...EXEC, stdin: false, stderr: false }), V4);
  client.open({ streamtype: "error" });
  const stdout = client.open({ streamtype: "stdout" });
  client.socket.pause();
  await stuck;
  assert.ok(written < TOTAL / 2, `${written} bytes were taken although nobody read`);
  client.socket.resume();
  assert.equal((await client.all(stdout)).length, TOTAL);
});

Deno.test("input waits for a handler that does not read", async () => {
  const { promise: go, resolve } = Promise.withResolvers<void>();
  await using server = await startServer({
    exec: async (_request, { stdin }) => {
      await go;
      let sum = 0;
      for await (const chunk of stdin ?? []) sum += (chunk as Uint8Array).length;
      return sum === 64 * 256 * 1024 ? 0 : 1;
    },
  });
  using client = await SpdyClient.connect(server.execUrl(EXEC), V4);
  const ids = openAll(client);
  const all = Promise.all(Array.from({ length: 64 }, () => client.write(ids.stdin, Buffer.alloc(256 * 1024))));
  const first = await Promise.race([all, new Promise((done) => setTimeout(() => done("stuck"), 500))]);
  assert.equal(first, "stuck");
  resolve();
  await all;
  client.finish(ids.stdin);
  assert.equal(JSON.parse(await client.all(ids.error)).status, "Success");
});

Deno.test("port-forward over SPDY carries connections side by side, and reports the one that fails", async () => {
  await using server = await startServer({
    portForward: async ({ port }, client) => {
      if (port === 9) throw new Error("connection refused");
      client.write(`port ${port}: `);
      client.pipe(client);
      await new Promise((done) => client.once("end", done));
    },
  });
  using client = await SpdyClient.connect(server.portForwardUrl({ sandboxId: "s", ports: [] }), "portforward.k8s.io");
  const connections = [80, 9, 81].map((port, i) => {
    const headers = { port: String(port), requestid: String(i) };
    const error = client.open({ streamtype: "error", ...headers });
    client.finish(error);
    return { error, data: client.open({ streamtype: "data", ...headers }) };
  });
  for (const [i, { data }] of connections.entries()) {
    await client.write(data, `n${i}`);
    client.finish(data);
  }
  const answers = await Promise.all(connections.map(({ data }) => client.all(data)));
  assert.deepEqual(answers, ["port 80: n0", "", "port 81: n2"]);
  const errors = await Promise.all(connections.map(({ error }) => client.all(error)));
  assert.deepEqual(errors, ["", "error forwarding port 9: connection refused", ""]);
});

const HOSTILE: ReadonlyArray<readonly [string, string]> = [
  ["noise", "ffffffffffffffffffffffffffffffff"],
  ["a header block that is none", "80030001000000120000000100000000000000000000000000000000"],
  ["an even stream id", "8003000100000010000000020000000000007801e3c6a7c2"],
  ["a control frame of 16 MiB", "8003000100ffffff"],
];
for (const [what, hex] of HOSTILE) {
  Deno.test(`a client that sends ${what} is cut off`, async () => {
    await using server = await startServer({});
    const { socket } = await upgrade(server.execUrl(EXEC), { Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": V4 });
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.on("error", () => {}).once("close", resolve).once("end", () => socket.destroy());
    socket.resume();
    socket.write(Buffer.from(hex, "hex"));
    await promise;
  });
}

Deno.test("an idle connection is closed after the time-out", async () => {
  await using server = await startServer({}, { idleTimeoutMs: 200 });
  const { socket } = await upgrade(server.execUrl(EXEC), { Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": V4 });
  await closing(socket);
});

Deno.test("close() cuts connections and waits for their handlers", async () => {
  let isDone = false;
  const { promise: started, resolve } = Promise.withResolvers<void>();
  const server = await startServer({
    attach: async (_request, { signal }) => {
      resolve();
      if (!signal.aborted) await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
      isDone = true;
    },
  });
  using client = await SpdyClient.connect(server.attachUrl(EXEC), V4);
  openAll(client);
  await started;
  await server.close();
  assert.ok(isDone);
  await client.closed;
});

function closing(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("error", () => {}).once("close", () => resolve()).once("end", () => socket.destroy());
  socket.resume();
  return promise;
}
