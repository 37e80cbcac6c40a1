import { deepEqual, equal, match, ok as assert, rejects } from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { createConnection } from "node:net";
import { status } from "@grpc/grpc-js";
import { FailedPreconditionError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { StreamContainersResponse } from "../../src/cri/gen/api.ts";
import { EncodedResponse } from "../../src/cri/unary.ts";
import { CrioSocket } from "../../src/node/socket.ts";
import { codeOf, Front } from "../fakes/cri_front.ts";
import { CallError, CriClient } from "../fakes/cri_client.ts";
import { podConfig } from "../fakes/cri_operations.ts";

type Containers = AsyncGenerator<StreamContainersResponse | EncodedResponse>;

const STREAM_CONTAINERS = "/runtime.v1.RuntimeService/StreamContainers";

function get(path: string, url: string, method = "GET"): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = httpRequest({ socketPath: path, path: url, method, agent: false }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => text += chunk).on("end", () => resolve(text));
  });
  request.on("error", reject);
  request.end(method === "GET" ? undefined : "hello");
  return promise;
}

Deno.test("the socket serves gRPC and HTTP side by side", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const answers = await Promise.all([
    client.call("version"),
    get(front.path, "/info"),
    client.call("version"),
    // Begins with the same letter as the HTTP/2 preface.
    get(front.path, "/config", "POST"),
    get(front.path, "/config", "PROPFIND"),
  ]);
  const version = { version: "0.1.0", runtimeName: "cri-o", runtimeVersion: "1.37.0", runtimeApiVersion: "v1" };
  deepEqual(answers, [version, "GET /info ", version, "POST /config body", "PROPFIND /config body"]);
});

Deno.test("the socket has mode 0660 and disappears on close", async () => {
  await using front = await Front.open();
  const info = await Deno.stat(front.path);
  equal((info.mode ?? 0) & 0o777, 0o660);
  const names = await Array.fromAsync(Deno.readDir(`${front.directory}/sub`), (entry) => entry.name);
  deepEqual(names, ["crio.sock"]);
  await front.close({ graceMs: 500 });
  await rejects(Deno.stat(front.path), Deno.errors.NotFound);
});

Deno.test("listen() replaces a dead socket", async () => {
  await using front = await Front.open();
  await front.close({ graceMs: 0 });
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", `Deno.listen({transport:"unix",path:${JSON.stringify(front.path)}}); Deno.exit(0)`],
  });
  await child.output();
  assert((await Deno.lstat(front.path)).isSocket);
  await front.listen();
  using client = new CriClient(front.path);
  equal((await client.call("version")).runtimeName, "cri-o");
});

Deno.test("listen() refuses a live socket and a file that is none", async () => {
  await using front = await Front.open();
  const servers = {
    grpc: { accept: (): void => {}, close: (): Promise<void> => Promise.resolve() },
    http: { emit: (): boolean => true, closeIdleConnections: (): void => {} },
  };
  await rejects(CrioSocket.listen({ listen: front.path }, servers, silentLogger), (error) => {
    assert(error instanceof FailedPreconditionError);
    match(error.message, /another process listens there/);
    return true;
  });
  using client = new CriClient(front.path);
  equal((await client.call("version")).runtimeName, "cri-o");
  const file = `${front.directory}/file`;
  await Deno.writeTextFile(file, "precious");
  await rejects(CrioSocket.listen({ listen: file }, servers, silentLogger), /not a socket/);
  equal(await Deno.readTextFile(file), "precious");
});

Deno.test("the socket survives clients that send nothing, garbage, or a piece", async () => {
  await using front = await Front.open({ silenceMs: 50 });
  const hostile = [
    "",
    "P",
    "PR",
    "PRI",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\xff".repeat(100),
    "\0\0\0",
    "GET",
    "\r\n\r\n",
  ];
  await Promise.all(hostile.map(async (bytes) => {
    const connection = createConnection(front.path);
    connection.on("error", () => {});
    await once(connection, "connect");
    if (bytes !== "") connection.write(bytes, "latin1");
    connection.resume();
    if (bytes === "" || bytes === "P" || bytes === "PR") await once(connection, "close");
    else connection.destroy();
  }));
  using client = new CriClient(front.path);
  equal((await client.call("version")).runtimeName, "cri-o");
  equal(await get(front.path, "/info"), "GET /info ");
});

Deno.test("the socket recognises a preface that comes byte by byte", async () => {
  await using front = await Front.open();
  const connection = createConnection(front.path);
  connection.on("error", () => {});
  await once(connection, "connect");
  for (const byte of "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0") {
    connection.write(byte, "latin1");
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  const [first] = await once(connection, "data") as [Uint8Array];
  equal(first[3], 4, "the server's first frame is SETTINGS");
  connection.destroy();
  await once(connection, "close");
});

Deno.test("close() lets a running call end", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const { promise: running, resolve: begun } = Promise.withResolvers<void>();
  const { promise: gate, resolve: finish } = Promise.withResolvers<void>();
  front.node.onRun = async (): Promise<void> => {
    begun();
    await gate;
  };
  const call = client.call("runPodSandbox", { config: podConfig() });
  await running;
  const closed = front.close({ graceMs: 10_000 });
  finish();
  match((await call).podSandboxId, /^[0-9a-f]{64}$/);
  await closed;
});

Deno.test("close() cuts what does not end in time", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const { promise: running, resolve: begun } = Promise.withResolvers<void>();
  const { promise: aborted, resolve: abort } = Promise.withResolvers<unknown>();
  front.node.onRun = async (_spec, signal): Promise<void> => {
    signal.addEventListener("abort", () => abort(signal.reason));
    begun();
    await aborted;
    signal.throwIfAborted();
  };
  const call = codeOf(client.call("runPodSandbox", { config: podConfig() }));
  await running;
  await front.close({ graceMs: 20 });
  assert(await aborted instanceof DOMException);
  assert([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL].includes(await call));
});

Deno.test("the deadline and the cancel of a client reach the handler", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const reasons: unknown[] = [];
  let { promise: seen, resolve: see } = Promise.withResolvers<void>();
  let { promise: running, resolve: begin } = Promise.withResolvers<void>();
  front.node.onRun = async (_spec, signal): Promise<void> => {
    begin();
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    reasons.push((signal.reason as DOMException).name);
    see();
    signal.throwIfAborted();
  };
  equal(
    await codeOf(client.call("runPodSandbox", { config: podConfig() }, { deadlineMs: 100 })),
    status.DEADLINE_EXCEEDED,
  );
  await seen;
  ({ promise: seen, resolve: see } = Promise.withResolvers<void>());
  ({ promise: running, resolve: begin } = Promise.withResolvers<void>());
  const abort = new AbortController();
  const call = codeOf(client.call("runPodSandbox", { config: podConfig() }, { signal: abort.signal }));
  await running;
  abort.abort();
  equal(await call, status.CANCELLED);
  await seen;
  deepEqual(reasons, ["TimeoutError", "AbortError"]);
});

Deno.test("a request that is too large, not a message or unknown gets the right code", async () => {
  await using front = await Front.open({ maxReceiveBytes: 1000 });
  using client = new CriClient(front.path);
  const path = "/runtime.v1.RuntimeService/RunPodSandbox";
  equal(await codeOf(client.raw(path, new Uint8Array(1001))), status.RESOURCE_EXHAUSTED);
  equal(await codeOf(client.raw(path, new Uint8Array([0x0a, 0xff, 0xff]))), status.INVALID_ARGUMENT);
  equal(await codeOf(client.raw(path, new Uint8Array([0xff, 0xff, 0xff]))), status.INVALID_ARGUMENT);
  equal(await codeOf(client.raw("/runtime.v1.RuntimeService/Nope", new Uint8Array())), status.UNIMPLEMENTED);
  await rejects(client.call("listMetricDescriptors"), (error) => {
    assert(error instanceof CallError);
    equal(error.code, status.UNIMPLEMENTED);
    match(error.details, /\/runtime\.v1\.RuntimeService\/ListMetricDescriptors is not implemented/);
    return true;
  });
  await rejects(client.stream("/runtime.v1.RuntimeService/StreamPodSandboxMetrics", new Uint8Array()), (error) => {
    assert(error instanceof CallError);
    equal(error.code, status.UNIMPLEMENTED);
    return true;
  });
  deepEqual(front.metrics.observed.at(-1), { operation: "ListMetricDescriptors", failed: true });
});

Deno.test("a server stream sends everything", async () => {
  let made = 0;
  const bytes = StreamContainersResponse.encode({ containers: [] }).finish();
  const big = new Uint8Array(256 * 1024);
  await using front = await Front.open({
    runtime: {
      async *streamContainers(): Containers {
        yield { containers: [] };
        for (; made < 40; made++) yield new EncodedResponse(big);
        await Promise.resolve();
      },
    },
  });
  using client = new CriClient(front.path);
  const messages = await client.stream(STREAM_CONTAINERS, new Uint8Array());
  deepEqual(messages.map((message) => message.length), [bytes.length, ...Array(40).fill(big.length)]);
  // Streams stay out of the metrics of operations, as in CRI-O: their length says nothing.
  deepEqual(front.metrics.observed, []);
});

Deno.test("a server stream that is cancelled ends its handler", async () => {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  await using front = await Front.open({
    runtime: {
      async *streamContainers(_request, { signal }): Containers {
        try {
          for (;;) {
            yield { containers: [] };
            // An ordinary handler waits for news here.
            await new Promise<void>((resolve) => setTimeout(resolve, 0));
            signal.throwIfAborted();
          }
        } finally {
          end();
        }
      },
    },
  });
  using client = new CriClient(front.path);
  equal(await codeOf(client.stream(STREAM_CONTAINERS, new Uint8Array(), { cancelAfter: 3 })), status.CANCELLED);
  await ended;
});

Deno.test("a server stream that throws half-way ends with its code", async () => {
  await using front = await Front.open({
    runtime: {
      async *streamContainers(): Containers {
        yield { containers: [] };
        await Promise.reject(new FailedPreconditionError("enough"));
      },
    },
  });
  using client = new CriClient(front.path);
  equal(await codeOf(client.stream(STREAM_CONTAINERS, new Uint8Array())), status.FAILED_PRECONDITION);
});
