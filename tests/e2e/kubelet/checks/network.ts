import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { lineServer, shell, SLEEPER } from "../commands.ts";
import { namespaceOf } from "../kernel.ts";
import { NODE_IP } from "../kubelet.ts";
import { until } from "../until.ts";

/** What a server says before it closes; undefined where nobody listens. */
async function saidBy(hostname: string, port: number): Promise<string | undefined> {
  try {
    using connection = await Deno.connect({ hostname, port });
    const buffer = new Uint8Array(256);
    const count = await connection.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, count ?? 0)).trim();
  } catch {
    return undefined;
  }
}

export const NETWORK: readonly Check[] = [
  check("containers of a pod share its network, which is not the node's", async (node) => {
    const pod = await node.run("loopback", {
      containers: [{ name: "server", command: lineServer(7100, "hello") }, { name: "client", command: SLEEPER }],
    });
    await pod.ready();
    const answer = await until("an answer", async () => {
      const { stdout } = await pod.exec("client", shell("busybox nc 127.0.0.1 7100 </dev/null"));
      return stdout === "" ? undefined : stdout;
    });
    assert.equal(answer, "hello\n");
    const [server, client] = [await pod.pid("server"), await pod.pid("client")];
    assert.equal(await namespaceOf(server, "net"), await namespaceOf(client, "net"));
    assert.notEqual(await namespaceOf(server, "net"), await namespaceOf("self", "net"));
    await pod.delete();
  }),
  check("pods reach each other by address", async (node) => {
    const server = await node.run("server", { containers: [{ name: "main", command: lineServer(7200, "there") }] });
    const client = await node.run("client", { containers: [{ name: "main", command: SLEEPER }] });
    const { status } = await server.ready();
    await client.ready();
    const script = `busybox nc ${status.podIP} 7200 </dev/null`;
    assert.equal(
      await until("an answer", async () => {
        const { stdout } = await client.exec("main", shell(script));
        return stdout === "" ? undefined : stdout;
      }),
      "there\n",
    );
    await server.delete();
    await client.delete();
  }),
  check("hostNetwork: the node's network and address", async (node) => {
    const pod = await node.run("host-network", {
      hostNetwork: true,
      containers: [{ name: "main", command: SLEEPER }],
    });
    const { status } = await pod.ready();
    assert.equal(await namespaceOf(await pod.pid("main"), "net"), await namespaceOf("self", "net"));
    // A kubelet without an API server does not tell its own address.
    if (node.mode === "cluster") assert.deepEqual([status.podIP, status.hostIP], [NODE_IP, NODE_IP]);
    assert.equal(await pod.shell("main", "hostname"), Deno.hostname());
    await pod.delete();
  }),
  check("hostPort: the node's port is the pod's, and free again behind it", async (node) => {
    const ports = [{ containerPort: 7300, hostPort: 17300 }];
    const pod = await node.run("host-port", {
      containers: [{ name: "main", command: lineServer(7300, "ported"), ports }],
    });
    await pod.ready();
    for (const address of [NODE_IP, "127.0.0.1"]) {
      assert.equal(await until(`an answer at ${address}`, () => saidBy(address, 17300)), "ported");
    }
    await pod.delete();
    await until("the port to be free", async () => await saidBy(NODE_IP, 17300) === undefined || undefined);
  }),
  check("name servers are the cluster's, or those that the pod asks for", async (node) => {
    const own = {
      dnsPolicy: "None",
      dnsConfig: {
        nameservers: ["192.0.2.53"],
        searches: ["a.example", "b.example"],
        options: [{ name: "ndots", value: "3" }, { name: "edns0" }],
      },
    };
    const usual = await node.run("dns", { containers: [{ name: "main", command: SLEEPER }] });
    const asked = await node.run("dns-own", { ...own, containers: [{ name: "main", command: SLEEPER }] });
    await usual.ready();
    await asked.ready();
    const cluster = await usual.shell("main", "cat /etc/resolv.conf");
    assert.match(cluster, /^search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local example\.test$/m);
    assert.match(cluster, /^nameserver 10\.96\.0\.10$/m);
    assert.match(cluster, /^options ndots:5$/m);
    const [options = "", ...lines] = (await asked.shell("main", "cat /etc/resolv.conf")).split("\n").sort((a, b) =>
      Number(b.startsWith("options")) - Number(a.startsWith("options")) || a.localeCompare(b)
    );
    assert.deepEqual(lines, ["nameserver 192.0.2.53", "search a.example b.example"]);
    // The kubelet gives them in any order.
    assert.deepEqual(options.split(" ").sort(), ["edns0", "ndots:3", "options"]);
    await usual.delete();
    await asked.delete();
  }),
  check("host name, aliases and the hosts file are the pod's", async (node) => {
    const pod = await node.run("hosts", {
      hostname: "own-name",
      hostAliases: [{ ip: "192.0.2.7", hostnames: ["seven.example", "seven"] }],
      containers: [{ name: "main", command: SLEEPER }],
    });
    const { status } = await pod.ready();
    assert.equal(await pod.shell("main", "hostname; cat /etc/hostname"), "own-name\nown-name");
    const hosts = await pod.shell("main", "cat /etc/hosts");
    assert.match(hosts, /^192\.0\.2\.7\s+seven\.example\s+seven$/m);
    assert.match(hosts, new RegExp(`^${status.podIP?.replaceAll(".", "\\.")}\\s+own-name$`, "m"));
    assert.match(hosts, /^127\.0\.0\.1\s+localhost$/m);
    await pod.delete();
  }),
];
