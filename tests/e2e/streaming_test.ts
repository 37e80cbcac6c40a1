import assert from "node:assert/strict";
import { createHash, type Hash, randomBytes } from "node:crypto";
import { type ContainerConfig, Mount } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Crictl } from "./harness/crictl.ts";
import { CrictlSession, type Transport, TRANSPORTS } from "./harness/crictl_session.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { pssBytes } from "./harness/processes.ts";
import { PodUnderTest, until } from "./harness/tries.ts";

/*
 * exec, attach and port-forward as users have them: crictl over each transport.
 *
 * STREAM_MIB        how much goes through each stream (default 128)
 * STREAM_SESSIONS   exec sessions in each of four rounds (default 60)
 */
const MEBI = 1024 * 1024;
const STREAM_MIB = Number(Deno.env.get("STREAM_MIB") ?? "128");
const SESSIONS = Number(Deno.env.get("STREAM_SESSIONS") ?? "60");
const BLOCK_MIB = 16;
const ROUNDS = 4;
/** In earnest. Before some hundred sessions have run, the engine's heap still grows to the size that it keeps. */
const IS_FULL = SESSIONS >= 500;
const GROWTH_BYTES = (IS_FULL ? 3 : 64) * MEBI;
/** The engine gives memory back when it has been idle for eight seconds. */
const QUIET_MS = IS_FULL ? 12_000 : 1000;
const SETTLE_LIMIT_MS = 120_000;

const ignore = !(await Crictl.isAvailable());

/** One pod with one container that sees `/data/block`, 16 MiB that no compression makes smaller. */
class StreamLab implements AsyncDisposable {
  private constructor(
    readonly lab: Lab,
    readonly crictl: Crictl,
    readonly pod: PodUnderTest,
    readonly block: Uint8Array,
    readonly containerId: string,
  ) {}

  static async start(): Promise<StreamLab> {
    await using undo = new AsyncDisposableStack();
    const lab = undo.use(await Lab.start());
    await lab.pull();
    const block = randomBytes(BLOCK_MIB * MEBI);
    await Deno.mkdir(`${lab.directory}/data`);
    await Deno.writeFile(`${lab.directory}/data/block`, block);
    const pod = await PodUnderTest.run(lab, "streams");
    const data = message(Mount, { hostPath: `${lab.directory}/data`, containerPath: "/data", readonly: true });
    const containerId = await pod.start({
      command: SLEEPER,
      change: (config: ContainerConfig) => {
        config.mounts = [data];
      },
    });
    const crictl = await Crictl.for(lab.daemon.spec.socketPath);
    undo.move();
    return new StreamLab(lab, crictl, pod, block, containerId);
  }

  session(...args: string[]): CrictlSession {
    return new CrictlSession(this.crictl, args);
  }

  /** The block, again and again. */
  *blocks(): Generator<Uint8Array> {
    for (let sent = 0; sent < STREAM_MIB; sent += BLOCK_MIB) yield this.block;
  }

  get sum(): string {
    const hash = createHash("sha256");
    for (const block of this.blocks()) hash.update(block);
    return hash.digest("hex");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pod.remove();
    assert.deepEqual(await this.lab.leaks(), []);
    await this.lab[Symbol.asyncDispose]();
  }
}

function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

async function hashOf(pieces: AsyncIterable<Uint8Array>): Promise<{ sum: string; bytes: number }> {
  const hash: Hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { sum: hash.digest("hex"), bytes };
}

Deno.test("crictl exec, attach and port-forward work over each transport", { ignore }, async (t) => {
  await using streams = await StreamLab.start();
  for (const transport of TRANSPORTS) {
    const step = (name: string, work: (transport: Transport) => Promise<void>): Promise<boolean> =>
      t.step(`${transport}: ${name}`, () => work(transport));
    await step("exec -i keeps stdout and stderr apart, ends with the input, and tells the exit code", execPlain);
    await step("exec -it has a terminal of the user's size", execTerminal);
    await step("attach -i talks to the container's first process", attachPlain);
    await step("attach -it has the container's terminal", attachTerminal);
    await step(`${STREAM_MIB} MiB come out of exec, and go in`, execBulk);
    await step(`${STREAM_MIB} MiB go through a port-forward, both ways at once`, portForwardBulk);
  }

  async function execPlain(transport: Transport): Promise<void> {
    const script = "while read line; do echo out $line; echo err $line >&2; done; exit 7";
    await using session = streams.session("exec", "-i", "-r", transport, streams.containerId, ...shell(script));
    await session.write("one\n");
    await session.expect(/out one\n/);
    await session.write("two\n");
    await session.endInput();
    const { code, stdout, stderr } = await session.end();
    assert.equal(stdout, "out one\nout two\n");
    assert.match(stderr, /^err one\nerr two\n.*exit code 7/s);
    assert.notEqual(code, 0);
  }

  async function execTerminal(transport: Transport): Promise<void> {
    // The size travels on its own: it may come after the start.
    const script = 'tty; until [ "$(busybox stty size)" = "41 97" ]; do :; done; echo size 41 97; read x; echo got $x';
    const args = ["exec", "-it", "-r", transport, streams.containerId, ...shell(script)];
    await using session = new CrictlSession(streams.crictl, args, { terminal: [41, 97] });
    await session.expect(/\/dev\/pts\/0\r\n/);
    await session.expect(/size 41 97\r\n/);
    await session.write("words\r");
    await session.expect(/got words\r\n/);
    assert.equal((await session.end()).code, 0);
  }

  async function attachPlain(transport: Transport): Promise<void> {
    const containerId = await streams.pod.start({
      command: shell("while read line; do echo out $line; echo err $line >&2; done; echo end"),
      change: (config) => {
        config.stdin = true;
        config.stdinOnce = true;
      },
    });
    await using session = streams.session("attach", "-i", "-r", transport, containerId);
    await session.write("one\n");
    await session.expect(/out one\n/);
    await session.endInput();
    const { code, stdout, stderr } = await session.end();
    assert.equal(stdout, "out one\nend\n");
    assert.equal(stderr, "err one\n");
    assert.equal(code, 0);
  }

  async function attachTerminal(transport: Transport): Promise<void> {
    const containerId = await streams.pod.start({
      // What is written before crictl has made its own terminal raw is lost: the container speaks first. The size travels
      // on its own.
      command: shell(
        'until read -t 1 line; do echo ready; done; until [ "$(busybox stty size)" = "33 88" ]; do :; done; ' +
          'while echo "$line at 33 88" && [ "$line" != end ]; do read line; done',
      ),
      change: (config) => {
        config.stdin = true;
        config.tty = true;
      },
    });
    const args = ["attach", "-it", "-r", transport, containerId];
    await using session = new CrictlSession(streams.crictl, args, { terminal: [33, 88] });
    await session.expect(/ready\r\n/);
    await session.write("hello\r");
    await session.expect(/hello at 33 88\r\n/);
    await session.write("end\r");
    await session.expect(/end at 33 88\r\n/);
    await session.end();
  }

  async function execBulk(transport: Transport): Promise<void> {
    const times = STREAM_MIB / BLOCK_MIB;
    const out = `i=0; while [ $i -lt ${times} ]; do cat /data/block; i=$((i + 1)); done`;
    await using reading = streams.session("exec", "-r", transport, streams.containerId, ...shell(out));
    assert.deepEqual(await hashOf(reading.pieces()), { sum: streams.sum, bytes: STREAM_MIB * MEBI });
    const into = ["busybox", "sha256sum"];
    await using writing = streams.session("exec", "-i", "-r", transport, streams.containerId, ...into);
    for (const block of streams.blocks()) await writing.write(block);
    await writing.endInput();
    assert.equal((await writing.end()).stdout, `${streams.sum}  -\n`);
  }

  async function portForwardBulk(transport: Transport): Promise<void> {
    const port = 9000 + TRANSPORTS.indexOf(transport);
    await streams.pod.start({ command: ["busybox", "nc", "-ll", "-p", `${port}`, "-e", "cat"] });
    await using forward = streams.session("port-forward", "-r", transport, streams.pod.id, `0:${port}`);
    const [, local] = await forward.expect(/Forwarding from 127\.0\.0\.1:(\d+)/);
    using connection = await until("the listener in the pod", () => echo(Number(local)));
    const received = hashOf(piecesOf(connection));
    for (const block of streams.blocks()) await writeAll(connection, block);
    await connection.closeWrite();
    assert.deepEqual(await received, { sum: streams.sum, bytes: STREAM_MIB * MEBI });
  }
});

async function* piecesOf(connection: Deno.TcpConn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(MEBI);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    yield buffer.subarray(0, n);
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** A connection that gives back what it is given; undefined as long as nobody listens in the pod. */
async function echo(port: number): Promise<Deno.TcpConn | undefined> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    await connection.write(Uint8Array.of(1));
    if (await connection.read(new Uint8Array(1)) === 1) return connection;
  } catch {
    // Closed by the other side.
  }
  connection.close();
  return undefined;
}

Deno.test(`${ROUNDS} rounds of ${SESSIONS} exec sessions leave no descriptor and no memory`, { ignore }, async () => {
  await using streams = await StreamLab.start();
  const { pid } = streams.lab.daemon;
  const rounds: { descriptors: number; pssBytes: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await runSessions(streams);
    // What is garbage does not count: it is collected when the daemon likes, and by this signal.
    Deno.kill(pid, "SIGUSR2");
    rounds.push({
      descriptors: await settled(() => descriptors(pid)),
      pssBytes: await settled(() => pssBytes(pid), MEBI),
    });
  }
  const shown = rounds.map((round) => `${round.descriptors} / ${(round.pssBytes / MEBI).toFixed(1)} MiB`).join(", ");
  Deno.stderr.writeSync(new TextEncoder().encode(`\ndescriptors / PSS after each round: ${shown}\n`));
  // Fewer is fine: the pull process leaves a minute after its work.
  const [first, ...later] = rounds.map((round) => round.descriptors);
  assert.ok(first !== undefined && later.every((count) => count <= first), shown);
  const [third = 0, fourth = 0] = rounds.slice(-2).map((round) => round.pssBytes);
  assert.ok(fourth - third < GROWTH_BYTES, shown);
});

/** A few at a time, over both transports. */
async function runSessions({ crictl, containerId }: StreamLab): Promise<void> {
  const WORKERS = 4;
  let left = SESSIONS;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      const transport = TRANSPORTS[left-- % TRANSPORTS.length] ?? "spdy";
      assert.equal(await crictl.run("exec", "-r", transport, containerId, "/bin/echo", "word"), "word");
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

function descriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** The value once it has stayed the same, give or take, for a while. */
async function settled(read: () => number, tolerance = 0): Promise<number> {
  const limitMs = performance.now() + SETTLE_LIMIT_MS;
  let [value, sinceMs] = [read(), performance.now()];
  while (performance.now() - sinceMs < QUIET_MS) {
    if (performance.now() > limitMs) throw new Error(`does not settle, last ${value}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = read();
    if (Math.abs(now - value) > tolerance) [value, sinceMs] = [now, performance.now()];
  }
  return read();
}
