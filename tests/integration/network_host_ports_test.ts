/**
 * Host ports as rules of nftables and of iptables, tried with real connections: a namespace stands for the node, one for
 * a pod behind a bridge, one for another machine.
 */
import assert from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { commandResult, runCommand } from "../../src/linux/command.ts";
import { inNetworkNamespace, pinNamespaces, unpinNamespace } from "../../src/linux/namespaces.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { forwardsOf } from "../../src/network/host_ports/forwards.ts";
import { HostPorts } from "../../src/network/host_ports/host_ports.ts";

openLibraries();

const POD = { v4: "10.214.0.2", v6: "fd00:214::2" };
const NODE = { v4: "192.0.2.1", v6: "fd00:2::1", bridge: "10.214.0.1" };
const BRIDGE = { interfaces: [{ name: "br0" }] };

interface Machines {
  readonly ports: HostPorts;
  /** Another process on the same node. */
  again(): HostPorts;
  run(where: "node" | "pod" | "other", ...argv: string[]): Promise<string>;
  /** What answers at this address and port, or undefined. */
  ask(where: "node" | "pod" | "other", address: string, port: number): Promise<string | undefined>;
}

const backends = [
  { backend: "nft", hidden: [] },
  { backend: "iptables", hidden: ["nft"] },
  { backend: "iptables-legacy", hidden: ["nft", "iptables", "iptables-save"] },
];

async function withMachines(
  hidden: readonly string[],
  body: (machines: Machines) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "host-ports-" });
  const names = ["node", "pod", "other"] as const;
  const paths = Object.fromEntries(names.map((name) => {
    const sysctls = name === "node" ? { "net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1" } : {};
    return [name, pinNamespaces({ directory, name, kinds: ["network"], sysctls }).network ?? ""];
  }));
  const inside = (where: string, argv: readonly string[]): Promise<{ stdout: Uint8Array }> =>
    inNetworkNamespace(paths[where] ?? "", () => runCommand(["/usr/bin/env", ...argv]));
  const run: Machines["run"] = async (where, ...argv) => new TextDecoder().decode((await inside(where, argv)).stdout);
  const make = (): HostPorts =>
    new HostPorts({ instance: "", logger: silentLogger }, {
      run: (argv, options) => {
        const missing = hidden.includes(argv[1] ?? "");
        return inNetworkNamespace(paths["node"] ?? "", () => commandResult(missing ? ["/bin/false"] : argv, options));
      },
      setSysctl: async (path, value) => {
        await run("node", "sh", "-c", `echo ${value} > /proc/sys/${path}`);
      },
    });
  const servers: Deno.Listener[] = [];
  try {
    await cable(run, paths);
    servers.push(
      serve(paths["pod"] ?? "", "0.0.0.0", "pod v4"),
      serve(paths["pod"] ?? "", POD.v6, "pod v6"),
      serve(paths["node"] ?? "", "127.0.0.1", "secret of the node"),
    );
    await body({
      ports: make(),
      again: make,
      run,
      ask: async (where, address, port) => {
        const answer = await run(where, "timeout", "3", "busybox", "nc", address, String(port)).catch(() => "");
        return answer === "" ? undefined : answer;
      },
    });
  } finally {
    servers.forEach((server) => server.close());
    for (const path of Object.values(paths)) unpinNamespace(path);
    await Deno.remove(directory, { recursive: true });
  }
}

/** Pod - bridge of the node - other machine, IPv4 and IPv6. */
async function cable(run: Machines["run"], paths: Readonly<Record<string, string>>): Promise<void> {
  const ip = (where: "node" | "pod" | "other", line: string): Promise<string> => run(where, "ip", ...line.split(" "));
  const nodeOf = async (other: "pod" | "other", device: string): Promise<void> => {
    await run("node", "ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", paths[other] ?? "");
    await ip("node", `link set ${device} up`);
    await ip(other, "link set eth0 up");
  };
  await ip("node", "link add br0 type bridge");
  await ip("node", "link set br0 up");
  await nodeOf("pod", "veth0");
  await ip("node", "link set veth0 master br0");
  await run("node", "bridge", "link", "set", "dev", "veth0", "hairpin", "on");
  await nodeOf("other", "wire0");
  await ip("node", `addr add ${NODE.bridge}/24 dev br0`);
  await ip("node", "addr add fd00:214::1/64 dev br0 nodad");
  await ip("node", `addr add ${NODE.v4}/24 dev wire0`);
  await ip("node", `addr add ${NODE.v6}/64 dev wire0 nodad`);
  await ip("pod", `addr add ${POD.v4}/24 dev eth0`);
  await ip("pod", `addr add ${POD.v6}/64 dev eth0 nodad`);
  await ip("pod", `route add default via ${NODE.bridge}`);
  await ip("pod", "-6 route add default via fd00:214::1");
  await ip("other", "addr add 192.0.2.2/24 dev eth0");
  await ip("other", "addr add fd00:2::2/64 dev eth0 nodad");
}

function serve(netns: string, hostname: string, text: string): Deno.Listener {
  const server = inNetworkNamespace(netns, () => Deno.listen({ hostname, port: 80 }));
  (async (): Promise<void> => {
    for await (const connection of server) {
      await connection.write(new TextEncoder().encode(text)).catch(() => undefined);
      connection.close();
    }
  })().catch(() => undefined);
  return server;
}

for (const { backend, hidden } of backends) {
  Deno.test(`host ports by ${backend}: from the node, another machine and the pod itself, IPv4 and IPv6`, async () => {
    await withMachines(hidden, async ({ ports, ask }) => {
      await ports.start([]);
      const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" } as const;
      assert.equal(await ask("other", NODE.v4, 8080), undefined);
      await ports.add("a".repeat(64), forwardsOf([mapping], [POD.v4, POD.v6]), BRIDGE);
      assert.equal(await ask("other", NODE.v4, 8080), "pod v4");
      assert.equal(await ask("other", NODE.v6, 8080), "pod v6");
      assert.equal(await ask("node", "127.0.0.1", 8080), "pod v4");
      assert.equal(await ask("node", NODE.v4, 8080), "pod v4");
      assert.equal(await ask("pod", NODE.v4, 8080), "pod v4", "the pod reaches itself");
      assert.equal(await ask("pod", NODE.bridge, 8080), "pod v4");
      await ports.remove("a".repeat(64));
      assert.equal(await ask("other", NODE.v4, 8080), undefined);
    });
  });

  Deno.test(`host ports by ${backend}: one address of the node only`, async () => {
    await withMachines(hidden, async ({ ports, ask }) => {
      await ports.start([]);
      const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8081, hostIp: "127.0.0.1" } as const;
      await ports.add("b".repeat(64), forwardsOf([mapping], [POD.v4, POD.v6]), BRIDGE);
      assert.equal(await ask("node", "127.0.0.1", 8081), "pod v4");
      assert.equal(await ask("other", NODE.v4, 8081), undefined);
    });
  });

  Deno.test(`host ports by ${backend}: pods do not reach the node's loopback`, async () => {
    await withMachines(hidden, async ({ ports, ask, run }) => {
      await ports.start([]);
      const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8082, hostIp: "" } as const;
      await ports.add("c".repeat(64), forwardsOf([mapping], [POD.v4]), BRIDGE);
      assert.equal(await run("node", "cat", "/proc/sys/net/ipv4/conf/br0/route_localnet"), "1\n");
      assert.equal(await ask("node", "127.0.0.1", 80), "secret of the node");
      // A hostile pod sends packets for 127.0.0.1 to the node.
      await run("pod", "ip", "addr", "del", "127.0.0.1/8", "dev", "lo");
      await run("pod", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
      await run("pod", "ip", "route", "del", "local", "127.0.0.0/8", "table", "local").catch(() => "");
      await run("pod", "ip", "route", "add", "127.0.0.0/8", "via", NODE.bridge, "src", POD.v4);
      assert.equal(await ask("pod", "127.0.0.1", 80), undefined);
    });
  });

  Deno.test(`host ports by ${backend}: a new process keeps what is to stay, sweeps the rest, heals a flush`, async () => {
    await withMachines(hidden, async ({ ports, again, ask, run }) => {
      await ports.start([]);
      const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8083, hostIp: "" } as const;
      const kept = forwardsOf([mapping], [POD.v4]);
      await ports.add("d".repeat(64), kept, BRIDGE);
      await ports.add("e".repeat(64), forwardsOf([{ ...mapping, hostPort: 8084 }], [POD.v4]), BRIDGE);
      const next = again();
      await next.start([["d".repeat(64), kept]]);
      assert.equal(await ask("other", NODE.v4, 8083), "pod v4");
      assert.equal(await ask("other", NODE.v4, 8084), undefined, "its pod is gone");
      if (backend === "nft") await run("node", "nft", "flush", "ruleset");
      else await run("node", `${backend}`, "-t", "nat", "-F");
      assert.equal(await ask("other", NODE.v4, 8083), undefined, "somebody flushed the rules");
      await next.add("f".repeat(64), forwardsOf([{ ...mapping, hostPort: 8085 }], [POD.v4]), BRIDGE);
      assert.equal(await ask("other", NODE.v4, 8083), "pod v4", "they came back with the next change");
      await next.remove("d".repeat(64));
      await next.remove("f".repeat(64));
      const save = backend.startsWith("iptables-legacy") ? "iptables-legacy-save" : "iptables-save";
      const left = backend === "nft" ? await run("node", "nft", "list", "ruleset") : await run("node", save);
      assert.doesNotMatch(left, /crio/i);
    });
  });
}
