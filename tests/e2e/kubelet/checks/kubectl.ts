/** kubectl through the API server and the kubelet, over WebSocket and over SPDY. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { namespaceOf } from "../kernel.ts";
import { until } from "../until.ts";

const CLUSTER = { modes: ["cluster"] } as const;
const ECHO = shell('n=0; while read -r line; do n=$((n+1)); echo "$n $line"; done');
const MIB = 1 << 20;

/** Bytes without a pattern that anybody could lean on. */
function noise(bytes: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes);
  const CHUNK = 65_536;
  for (let i = 0; i < bytes; i += CHUNK) crypto.getRandomValues(all.subarray(i, Math.min(i + CHUNK, bytes)));
  return all;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Reads a stream until what it has said fits. */
async function said(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<RegExpExecArray> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      text += decoder.decode(value, { stream: true });
      const match = pattern.exec(text);
      if (match !== null) return match;
      if (done) throw new Error(`ended without ${pattern}: ${text}`);
    }
  } finally {
    reader.releaseLock();
  }
}

/** A server whose answer to any bytes is the same bytes. */
const ECHO_SERVER = shell("trap 'exit 0' TERM; busybox nc -ll -p 7800 -e cat & wait");

const CARRIED: readonly Check[] = (["websocket", "spdy"] as const).flatMap((transport) => [
  check(`kubectl exec over ${transport}: streams, input and exit code`, async (node) => {
    const pod = await node.run(`kubectl-exec-${transport}`, { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const outcome = await node.kubectl.try(
      ["exec", "-i", pod.name, "--", "sh", "-c", "cat; echo err >&2; exit 42"],
      { transport, stdin: "input\n" },
    );
    assert.equal(outcome.stdout, "input\n");
    assert.match(outcome.stderr, /^err\n/);
    assert.equal(outcome.code, 42);
    await pod.delete();
  }, CLUSTER),
  check(`kubectl exec over ${transport}: 32 MiB go in and come out`, async (node) => {
    const pod = await node.run(`kubectl-much-${transport}`, { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const stdin = noise(32 * MIB);
    const command = ["exec", "-i", pod.name, "--", "sh", "-c", "tee /copy | busybox sha256sum"];
    const sum = await node.kubectl.run(command, { transport, stdin });
    assert.equal(sum.split(" ")[0], sha256(stdin));
    const child = node.kubectl.spawn(["exec", pod.name, "--", "cat", "/copy"], { transport });
    await child.stdin.close();
    assert.equal(sha256((await child.output()).stdout), sha256(stdin));
    await pod.delete();
  }, CLUSTER),
  check(`kubectl attach over ${transport}: input and output of the container`, async (node) => {
    const pod = await node.run(`kubectl-attach-${transport}`, {
      containers: [{ name: "main", command: ECHO, stdin: true }],
    });
    await pod.ready();
    const child = node.kubectl.spawn(["attach", "-i", pod.name], { transport });
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("hello\n"));
    await said(child.stdout, /^1 hello$/m);
    await writer.close().catch(() => {});
    child.kill("SIGTERM");
    await child.output().catch(() => {});
    await child.status;
    await pod.delete();
  }, CLUSTER),
  check(`kubectl port-forward over ${transport}: 32 MiB there and back`, async (node) => {
    const pod = await node.run(`kubectl-forward-${transport}`, {
      containers: [{ name: "main", command: ECHO_SERVER }],
    });
    await pod.ready();
    const child = node.kubectl.spawn(["port-forward", pod.name, ":7800"], { transport });
    const [, port] = await said(child.stdout, /Forwarding from 127\.0\.0\.1:(\d+) -> 7800/);
    const sent = noise(32 * MIB);
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    const back = new Uint8Array(sent.length);
    const writing = (async () => {
      for (let at = 0; at < sent.length;) at += await connection.write(sent.subarray(at, at + MIB));
    })();
    for (let at = 0; at < back.length;) {
      const count = await connection.read(back.subarray(at));
      if (count === null) break;
      at += count;
    }
    await writing;
    assert.equal(sha256(back), sha256(sent));
    child.kill("SIGTERM");
    await child.stdin.close().catch(() => {});
    await child.output().catch(() => {});
    await child.status;
    await pod.delete();
  }, CLUSTER),
]);

export const KUBECTL: readonly Check[] = [
  ...CARRIED,
  check("kubectl logs -f follows to the end", async (node) => {
    const command = shell("for i in 1 2 3; do echo line $i; sleep 0.5; done");
    const pod = await node.run("kubectl-logs", { restartPolicy: "Never", containers: [{ name: "main", command }] });
    await pod.untilContainer("main", "running", (c) => c.state.running);
    assert.equal(await node.kubectl.run(["logs", "-f", pod.name]), "line 1\nline 2\nline 3\n");
    await pod.delete();
  }, CLUSTER),
  check("kubectl cp takes files in and out", async (node) => {
    const pod = await node.run("kubectl-cp", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const directory = await node.hostDirectory("copied");
    await Deno.writeFile(`${directory}/there`, noise(MIB));
    await pod.shell("main", "busybox --install -s /bin");
    await node.kubectl.run(["cp", `${directory}/there`, `${pod.name}:/tmp/file`]);
    await node.kubectl.run(["cp", `${pod.name}:/tmp/file`, `${directory}/back`]);
    assert.equal(sha256(await Deno.readFile(`${directory}/back`)), sha256(await Deno.readFile(`${directory}/there`)));
    await pod.delete();
  }, CLUSTER),
  check("kubectl debug: a container beside the others sees their processes", async (node) => {
    const pod = await node.run("debugged", { containers: [{ name: "main", command: shell("exec sleep 98765") }] });
    await pod.ready();
    const args = [
      "debug",
      pod.name,
      `--image=${node.image}`,
      "--target=main",
      "--container=probe",
      "--profile=general",
    ];
    await node.kubectl.run([...args, "--", "sleep", "1000"]);
    await pod.untilContainer("probe", "running", (c) => c.state.running);
    assert.match(await pod.shell("probe", "ps"), /sleep 98765/);
    assert.equal(await namespaceOf(await pod.pid("probe"), "pid"), await namespaceOf(await pod.pid("main"), "pid"));
    await pod.delete();
  }, CLUSTER),
  check("kubectl get and describe show the pod's state", async (node) => {
    const pod = await node.run("described", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    assert.match(await node.kubectl.run(["get", "pod", pod.name]), /described\s+1\/1\s+Running\s+0/);
    const text = await until("its events", async () => {
      const text = await node.kubectl.run(["describe", "pod", pod.name]);
      return text.includes("Started container") || text.includes("Container started") ? text : undefined;
    });
    assert.match(text, /Container ID:\s+(cri-o|containerd):\/\/[0-9a-f]{64}/);
    await pod.delete();
  }, CLUSTER),
];
