import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { PassThrough } from "node:stream";
import type { ContainerDeps } from "../../src/container/deps.ts";
import { attach } from "../../src/container/attach.ts";
import type { ContainerRecord } from "../../src/container/types.ts";
import { inNetworkNamespace, pinNamespaces, unpinNamespace } from "../../src/linux/namespaces.ts";
import { connectLoopback } from "../../src/linux/pod_socket.ts";
import { readProcess } from "../../src/linux/process.ts";
import { adoptOrphans } from "../../src/linux/spawn.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { attachSocketPath } from "../../src/oci/monitor/control.ts";
import { RuntimeError } from "../../src/oci/runtime/errors.ts";
import type { ExecStreams } from "../../src/oci/runtime/exec_stream.ts";
import type { TerminalSize } from "../../src/streaming/handlers.ts";
import { OciFixture, processSpec, type RuntimeName } from "./oci_fixture.ts";

openLibraries();

const MIB = 1024 * 1024;
const RUNTIMES: readonly RuntimeName[] = ["crun", "runc"];

/** A client's ends in memory. */
class Client implements ExecStreams {
  readonly stdin = new PassThrough();
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  resize: (size: TerminalSize) => void = () => {};
  #seen = "";
  #waiting: { text: string; resolve: () => void } | undefined;

  constructor() {
    this.stdout.on("data", (chunk: Uint8Array) => {
      this.#seen += Buffer.from(chunk).toString();
      if (this.#waiting !== undefined && this.#seen.includes(this.#waiting.text)) this.#waiting.resolve();
    });
  }

  onResize(listener: (size: TerminalSize) => void): void {
    this.resize = listener;
    listener({ width: 90, height: 20 });
  }

  async sees(text: string): Promise<void> {
    if (this.#seen.includes(text)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = { text, resolve };
    await promise;
  }

  get seen(): string {
    return this.#seen;
  }
}

interface Session extends AsyncDisposable {
  readonly fixture: OciFixture;
  readonly id: string;
  exec(args: string[], client: ExecStreams, options?: { tty?: boolean; signal?: AbortSignal }): Promise<number>;
}

async function session(name: RuntimeName): Promise<Session> {
  const adoption = adoptOrphans();
  const fixture = await OciFixture.make(name);
  const { id } = await fixture.run({ args: ["sleep", "1000"] });
  return {
    fixture,
    id,
    exec: (args, streams, { tty = false, signal = new AbortController().signal } = {}) =>
      fixture.runtime.execStream(id, {
        processSpec: { ...processSpec(args), terminal: tty },
        directory: fixture.execDir,
        streams,
        signal,
      }),
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await fixture[Symbol.asyncDispose]();
      adoption[Symbol.dispose]();
    },
  };
}

for (const name of RUNTIMES) {
  Deno.test(`${name}: execStream() connects three streams and gives the exit code`, async () => {
    await using s = await session(name);
    const client = new Client();
    client.stdin.end("input");
    const code = await s.exec(["sh", "-c", "cat; echo complaint >&2; exit 9"], client);
    assert.equal(code, 9);
    assert.equal(client.seen, "input");
    assert.equal(String(client.stderr.read()), "complaint\n");
  });

  Deno.test(`${name}: execStream() loses nothing for a slow reader`, async () => {
    await using s = await session(name);
    const stdout = new PassThrough({ highWaterMark: 1024 });
    const none = (): void => {};
    const run = s.exec(["dd", "if=/dev/zero", "bs=1048576", "count=8"], { stdout, onResize: none }).then((code) => {
      stdout.end();
      return code;
    });
    let sizeBytes = 0;
    for await (const chunk of stdout) sizeBytes += (chunk as Uint8Array).length;
    assert.equal(await run, 0);
    assert.equal(sizeBytes, 8 * MIB);
  });

  Deno.test(`${name}: execStream() with a terminal echoes, and changes its size`, async () => {
    await using s = await session(name);
    const client = new Client();
    const script = "[ -t 0 ] && [ -t 1 ] && echo terminal; read line; echo read $line; trap 'echo bigger' WINCH; " +
      "echo trapped; while true; do read more && exit 4; done";
    const run = s.exec(["sh", "-c", script], client, { tty: true });
    await client.sees("terminal\r\n");
    client.stdin.write("words\n");
    await client.sees("read words\r\n");
    await client.sees("trapped\r\n");
    client.resize({ width: 100, height: 40 });
    await client.sees("bigger");
    client.stdin.write("end\n");
    assert.equal(await run, 4);
  });

  Deno.test(`${name}: execStream() with a terminal gives the client nothing of the runtime's own words`, async () => {
    await using s = await session(name);
    const client = new Client();
    await assert.rejects(
      s.exec(["/no/such/program"], client, { tty: true }),
      /no\/such\/program|not found|No such file/,
    );
    assert.equal(client.seen, "");
  });

  Deno.test(`${name}: execStream() kills the process when it is aborted`, async () => {
    await using s = await session(name);
    const client = new Client();
    const gone = new AbortController();
    const run = s.exec(["sh", "-c", "sleep 1000 & echo begun; wait"], client, { signal: gone.signal });
    await client.sees("begun");
    const before = await s.fixture.tree.processes(`${s.fixture.parent}/crio-${s.id}`);
    assert.equal(before.length, 3);
    gone.abort(new Error("gone"));
    await assert.rejects(run, /gone/);
    // SIGKILL was sent to them; they may need a moment to die of it. The container's own process is the third.
    const living = (): number => before.filter((pid) => (readProcess(pid)?.state ?? "Z") !== "Z").length;
    while (living() > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(living(), 1);
  });

  Deno.test(`${name}: execStream() of a program that is not there throws what the runtime says`, async () => {
    await using s = await session(name);
    const client = new Client();
    await assert.rejects(s.exec(["/no/such/program"], client), RuntimeError);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(s.fixture.execDir))).map((entry) => entry.name), []);
  });
}

Deno.test("attach() carries input, output by stream, and the end of input", async () => {
  const adoption = adoptOrphans();
  await using fixture = await OciFixture.make("crun");
  const script = "echo ready >&2; cat; echo done";
  const { id, bundle } = await fixture.create({ args: ["sh", "-c", script], create: { stdin: true } });
  const client = new Client();
  const point = { socketPath: attachSocketPath(`${fixture.root}/sockets`, id), resize: (): void => {} };
  const deps = { runtimes: { find: () => ({ attachPoint: () => point }) } } as unknown as ContainerDeps;
  const record = { id, runDirectory: bundle, runtimeHandler: "crun" } as ContainerRecord;
  const signal = new AbortController().signal;
  const streams = { ...client, stdin: client.stdin, stdout: client.stdout, stderr: client.stderr };
  const run = attach(deps, record, { ...streams, tty: false, signal, onResize: () => {} });
  await fixture.runtime.start(id);
  const big = "0123456789abcdef".repeat(8192);
  client.stdin.end(big);
  await run;
  assert.equal(client.seen, `${big}done\n`);
  assert.equal(String(client.stderr.read()), "ready\n");
  adoption[Symbol.dispose]();
});

Deno.test("connectLoopback() reaches a listener inside a namespace only, over IPv4 or IPv6", async () => {
  const directory = await Deno.makeTempDir();
  const pins = pinNamespaces({ directory, name: "net", kinds: ["network"] });
  const namespace = pins.network ?? "";
  const signal = AbortSignal.timeout(10_000);
  try {
    for (const address of ["127.0.0.1", "::1"]) {
      using listener = inNetworkNamespace(namespace, () => Deno.listen({ hostname: address, port: 7007 }));
      const accepted = listener.accept();
      const socket = await connectLoopback(7007, { namespace, signal });
      using server = await accepted;
      socket.write("through");
      const bytes = new Uint8Array(100);
      assert.equal(Buffer.from(bytes.subarray(0, await server.read(bytes) ?? 0)).toString(), "through");
      const closed = new Promise((done) => socket.once("close", done));
      socket.resume();
      socket.end();
      assert.equal(await server.read(bytes), null);
      await server.closeWrite();
      await closed;
    }
    await assert.rejects(connectLoopback(7007, { namespace, signal }), /ECONNREFUSED/);
    await assert.rejects(connectLoopback(7007, { signal }), /ECONNREFUSED/);
  } finally {
    unpinNamespace(namespace);
    await Deno.remove(directory, { recursive: true });
  }
});
