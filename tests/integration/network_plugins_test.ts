/** The standard CNI plugins (bridge, host-local, portmap, tuning) in a network namespace that stands for the node. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { silentLogger } from "../../src/base/logger.ts";
import { commandResult, runCommand } from "../../src/linux/command.ts";
import { inNetworkNamespace, pinNamespaces, unpinNamespace } from "../../src/linux/namespaces.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { PodNetwork } from "../../src/network/pod_network.ts";
import type { PodNetworkRequest } from "../../src/network/types.ts";

openLibraries();

const PLUGIN_DIR = ["/usr/lib/cni", "/opt/cni/bin"].find((path) => {
  try {
    return Deno.statSync(`${path}/bridge`).isFile;
  } catch {
    return false;
  }
}) ?? "/usr/lib/cni";

interface Node {
  readonly directory: string;
  readonly network: PodNetwork;
  readonly configDir: string;
  /** Runs a command on the "node" and gives its stdout; a failure is an error. */
  host(...argv: string[]): Promise<string>;
  inPod(pod: PodNetworkRequest, ...argv: string[]): Promise<string>;
  newPod(request?: Partial<PodNetworkRequest>): PodNetworkRequest;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim();

async function withNode(plugins: (directory: string) => unknown[], body: (node: Node) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "cni-" });
  const pins = pinNamespaces({ directory, name: "node", kinds: ["network"], sysctls: { "net.ipv4.ip_forward": "1" } });
  const node = pins.network ?? "";
  const configDir = `${directory}/net.d`;
  await Deno.mkdir(configDir);
  const list = { cniVersion: "1.0.0", name: "test", plugins: plugins(directory) };
  await Deno.writeTextFile(`${configDir}/10-test.conflist`, JSON.stringify(list));
  const stop = new AbortController();
  const names: string[] = ["node"];
  try {
    // A child that starts inside the window is born in the "node's" namespace, as all plugins of a daemon are.
    const network = new PodNetwork({
      configDir,
      pluginDirs: [PLUGIN_DIR],
      cacheDir: `${directory}/cni`,
      logger: silentLogger,
    }, { run: (argv, options) => inNetworkNamespace(node, () => commandResult(argv, options)) });
    await using _network = network;
    await network.start(stop.signal);
    const run = async (path: string, argv: string[]): Promise<string> =>
      text((await inNetworkNamespace(path, () => runCommand(["/usr/bin/env", ...argv]))).stdout);
    await body({
      directory,
      network,
      configDir,
      host: (...argv) => run(node, argv),
      inPod: (pod, ...argv) => run(pod.netnsPath, argv),
      newPod: (request = {}) => {
        const name = randomUUID();
        names.push(name);
        const { network: netnsPath = "" } = pinNamespaces({ directory, name, kinds: ["network"] });
        return {
          sandboxId: name.replaceAll("-", "").padEnd(64, "0"),
          netnsPath,
          name: "p",
          namespace: "n",
          uid: name,
          ...request,
        };
      },
    });
  } finally {
    for (const name of names) unpinNamespace(`${directory}/netns/${name}`);
    await Deno.remove(directory, { recursive: true });
  }
}

function bridge(directory: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: "bridge",
    bridge: "cni-test0",
    isGateway: true,
    hairpinMode: true,
    ipam: {
      type: "host-local",
      dataDir: `${directory}/ipam`,
      routes: [{ dst: "0.0.0.0/0" }],
      ranges: [[{ subnet: "10.213.0.0/24" }]],
    },
    ...more,
  };
}

async function addressesInUse(directory: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(`${directory}/ipam/test`)) if (/^[0-9a-f:.]+$/.test(name)) names.push(name);
  return names.sort();
}

const limit = (): AbortSignal => AbortSignal.timeout(30_000);

Deno.test("attach() and detach() with bridge, host-local and tuning leave the kernel as it was", async () => {
  const chain = (directory: string): unknown[] => [
    bridge(directory, { ipMasq: true }),
    { type: "tuning", sysctl: { "net.core.somaxconn": "321" } },
  ];
  await withNode(chain, async ({ network, newPod, inPod, host, directory }) => {
    const [first, second] = [newPod(), newPod()];
    const one = await network.attach(first, { signal: limit() });
    const two = await network.attach(second, { signal: limit() });
    assert.deepEqual([one.ips, two.ips], [["10.213.0.2"], ["10.213.0.3"]]);
    assert.match(await inPod(first, "ip", "-br", "addr"), /eth0@\S+\s+UP\s+10\.213\.0\.2\/24/);
    assert.match(await inPod(first, "ip", "route"), /default via 10\.213\.0\.1 dev eth0/);
    assert.equal(await inPod(first, "cat", "/proc/sys/net/core/somaxconn"), "321");
    await inPod(first, "ping", "-c1", "-W5", "10.213.0.3").catch(async () => {
      await inPod(first, "busybox", "ping", "-c1", "-W5", "10.213.0.3");
    });
    await network.check(first, { signal: limit() });
    assert.deepEqual(await network.restore(first.sandboxId), ["10.213.0.2"]);
    assert.deepEqual(await addressesInUse(directory), ["10.213.0.2", "10.213.0.3"]);

    await network.detach(first, { signal: limit() });
    await network.detach(first, { signal: limit() });
    assert.doesNotMatch(await inPod(first, "ip", "-br", "link"), /eth0/);
    assert.equal(await network.restore(first.sandboxId), undefined);
    unpinNamespace(second.netnsPath);
    await network.detach(second, { signal: limit() });
    assert.deepEqual(await addressesInUse(directory), []);
    assert.doesNotMatch(await host("iptables-save", "-t", "nat"), new RegExp(first.sandboxId.slice(0, 32)));
  });
});

Deno.test("attach() leaves host ports to the network's own portmap plugin", async () => {
  const chain = (directory: string): unknown[] => [
    bridge(directory),
    { type: "portmap", snat: true, capabilities: { portMappings: true } },
  ];
  await withNode(chain, async ({ network, newPod, host }) => {
    const portMappings = [
      { protocol: "tcp", containerPort: 80, hostPort: 8088, hostIp: "" },
      { protocol: "tcp", containerPort: 81, hostPort: 0, hostIp: "" },
    ] as const;
    const pod = newPod({ portMappings });
    const { ips } = await network.attach(pod, { signal: limit() });
    assert.match(await host("iptables-save", "-t", "nat"), new RegExp(`--to-destination ${ips[0]}:80`));
    assert.doesNotMatch(await host("iptables-save", "-t", "nat"), /:81\b/);
    await network.detach(pod, { signal: limit() });
    assert.doesNotMatch(await host("iptables-save", "-t", "nat"), /to-destination/);
  });
});

Deno.test("attach() undoes the plugins before one that fails", async () => {
  const chain = (directory: string): unknown[] => [
    bridge(directory),
    { type: "tuning", sysctl: { "net.core.no_such_sysctl": "1" } },
  ];
  await withNode(chain, async ({ network, newPod, inPod, directory }) => {
    const pod = newPod();
    await assert.rejects(
      network.attach(pod, { signal: limit() }),
      /CNI plugin tuning of network test: ADD failed after \d+ ms \(run\): .*no_such_sysctl/,
    );
    assert.deepEqual(await addressesInUse(directory), []);
    assert.doesNotMatch(await inPod(pod, "ip", "-br", "link"), /eth0/);
    assert.equal(await network.restore(pod.sandboxId), undefined);
  });
});

Deno.test("attach() gives IPv4 and IPv6 in the plugin's order, and eight pods at once get addresses of their own", async () => {
  const chain = (directory: string): unknown[] => [
    bridge(directory, {
      ipam: {
        type: "host-local",
        dataDir: `${directory}/ipam`,
        ranges: [[{ subnet: "10.213.0.0/24" }], [{ subnet: "fd00:213::/64" }]],
      },
    }),
  ];
  await withNode(chain, async ({ network, newPod, directory }) => {
    const pods = Array.from({ length: 8 }, () => newPod());
    const results = await Promise.all(pods.map((pod) => network.attach(pod, { signal: limit() })));
    for (const { ips } of results) {
      assert.match(ips[0] ?? "", /^10\.213\.0\.\d+$/);
      assert.match(ips[1] ?? "", /^fd00:213::[0-9a-f]+$/);
    }
    assert.equal(new Set(results.flatMap(({ ips }) => ips)).size, 16);
    await Promise.all(pods.map((pod) => network.detach(pod, { signal: limit() })));
    assert.deepEqual(await addressesInUse(directory), []);
  });
});

Deno.test("collectGarbage() frees what a killed daemon left, begun or done", async () => {
  await withNode((directory) => [bridge(directory)], async ({ network, newPod, directory, configDir, inPod }) => {
    const [kept, done, begun] = [newPod(), newPod(), newPod()];
    for (const pod of [kept, done, begun]) await network.attach(pod, { signal: limit() });
    // As if the daemon had died before the result of ADD was written.
    await Deno.rename(
      `${directory}/cni/results/test-${begun.sandboxId}-eth0`,
      `${directory}/cni/pending/test-${begun.sandboxId}-eth0`,
    );
    unpinNamespace(done.netnsPath);
    const node = `${directory}/netns/node`;
    await using next = new PodNetwork({
      configDir,
      pluginDirs: [PLUGIN_DIR],
      cacheDir: `${directory}/cni`,
      logger: silentLogger,
    }, {
      run: (argv, options) => inNetworkNamespace(node, () => commandResult(argv, options)),
    });
    const stop = new AbortController();
    await next.start(stop.signal);
    await next.collectGarbage(new Set([kept.sandboxId]), { signal: limit() });
    assert.deepEqual(await addressesInUse(directory), ["10.213.0.2"]);
    assert.deepEqual(await next.restore(kept.sandboxId), ["10.213.0.2"]);
    // (The kernel takes the links of `done` down by itself, some time after its namespace has gone.)
    assert.doesNotMatch(await inPod(begun, "ip", "-br", "link"), /eth0/);
    assert.match(await inPod(kept, "ip", "-br", "link"), /eth0/);
    await next.detach(kept, { signal: limit() });
  });
});
