import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { CommandResult } from "../../../../src/linux/command.ts";
import type { Forward } from "../../../../src/network/host_ports/forwards.ts";
import { HostPorts } from "../../../../src/network/host_ports/host_ports.ts";

interface World {
  readonly ports: HostPorts;
  /** Commands that ran, without /usr/bin/env, with what they got. */
  readonly calls: Array<{ readonly argv: readonly string[]; readonly stdin: string }>;
  readonly sysctls: string[];
}

function world(
  answer: (argv: readonly string[], stdin: string) => number | Promise<number> = () => 0,
): World {
  const calls: Array<{ argv: readonly string[]; stdin: string }> = [];
  const sysctls: string[] = [];
  const ports = new HostPorts({ instance: "", logger: silentLogger }, {
    run: async (argv, options): Promise<CommandResult> => {
      const call = { argv: argv.slice(1), stdin: String(options.stdin ?? "") };
      calls.push(call);
      const exitCode = await answer(call.argv, call.stdin);
      return { exitCode, signal: undefined, stdout: new Uint8Array(), stderr: new Uint8Array() };
    },
    setSysctl: (path, value) => {
      sysctls.push(`${path}=${value}`);
      return Promise.resolve();
    },
  });
  return { ports, calls, sysctls };
}

function forward(hostPort: number, changes: Partial<Forward> = {}): Forward {
  return { family: 4, protocol: "tcp", hostPort, podAddress: "10.0.0.2", podPort: 80, ...changes };
}

const node = { interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: "/run/netns/x" }, { name: "../all" }] };

Deno.test("start() lets nft take away what a former process left, and keeps the ports of running pods", async () => {
  const { ports, calls } = world();
  await ports.start([["a", [forward(8080)]]]);
  assert.deepEqual(calls.map(({ argv }) => argv), [["nft", "-f", "-"]]);
  assert.match(calls[0]?.stdin ?? "", /^add table inet crio-hostports\ndelete table inet crio-hostports\ntable inet/);
  assert.match(calls[0]?.stdin ?? "", /elements = \{ tcp \. 8080 : 10\.0\.0\.2 \. 80 \}/);
});

Deno.test("start() goes on to iptables, and to its older form, where the one before fails", async () => {
  const { ports, calls } = world(([program = ""]) => program.includes("legacy") ? 0 : 1);
  await ports.start([]);
  await ports.add("a", [forward(8080)], node);
  assert.deepEqual([...new Set(calls.map(({ argv }) => argv[0]))], [
    "nft",
    "iptables-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "iptables-legacy-restore",
  ]);
  assert.match(
    calls.at(-1)?.stdin ?? "",
    /-A CRIO-HOSTPORTS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10\.0\.0\.2:80/,
  );
});

Deno.test("add() is refused with the remedy where no program can set rules", async () => {
  const { ports } = world(() => 1);
  await ports.start([]);
  await assert.rejects(ports.add("a", [forward(8080)], node), (error: Error) => {
    assert.ok(error instanceof FailedPreconditionError);
    assert.match(error.message, /install nftables or iptables/);
    return true;
  });
  await ports.add("b", [], node);
});

Deno.test("add() routes 127.0.0.1 through the node's interfaces, for IPv4 on every or a loopback address only", async () => {
  const { ports, sysctls } = world();
  await ports.start([]);
  await ports.add(
    "a",
    [forward(1, { hostAddress: "192.0.2.1" }), forward(1, { family: 6, podAddress: "fd00::2" })],
    node,
  );
  assert.deepEqual(sysctls, []);
  await ports.add("b", [forward(2)], node);
  assert.deepEqual(sysctls, ["net/ipv4/conf/cni0/route_localnet=1"]);
});

Deno.test("add() refuses a port that another pod has, and names it; the same pod may ask again", async () => {
  const { ports, calls } = world();
  await ports.start([]);
  await ports.add("a", [forward(8080)], node);
  await ports.add("a", [forward(8080)], node);
  const before = calls.length;
  await assert.rejects(ports.add("b", [forward(8080)], node), /host port tcp 8080 leads to pod sandbox a already/);
  assert.equal(calls.length, before);
  await ports.add("b", [forward(8080, { protocol: "udp" }), forward(8080, { hostAddress: "192.0.2.1" })], node);
  await ports.remove("a");
  await ports.add("c", [forward(8080)], node);
});

Deno.test("add() that fails leaves no wish behind", async () => {
  let broken = false;
  const { ports, calls } = world((_, stdin) => broken && stdin.includes("8080") ? 1 : 0);
  await ports.start([]);
  broken = true;
  await assert.rejects(ports.add("a", [forward(8080)], node), /nft ended with exit code 1/);
  await ports.add("b", [forward(9090)], node);
  assert.doesNotMatch(calls.at(-1)?.stdin ?? "", /8080/);
});

Deno.test("remove() that fails is tried again by the next one, and the last pod's table goes", async () => {
  let broken = false;
  const { ports, calls } = world(() => broken ? 1 : 0);
  await ports.start([]);
  await ports.add("a", [forward(8080)], node);
  broken = true;
  await assert.rejects(ports.remove("a"));
  broken = false;
  await ports.remove("a");
  assert.equal(calls.at(-1)?.stdin, "add table inet crio-hostports\ndelete table inet crio-hostports\n");
  const done = calls.length;
  await ports.remove("a");
  assert.equal(calls.length, done);
});

Deno.test("changes that come while a program runs are put in by one more run", async () => {
  const { promise: open, resolve } = Promise.withResolvers<void>();
  const gate: { shut?: Promise<void> } = {};
  const { ports, calls } = world(async () => {
    await gate.shut;
    return 0;
  });
  await ports.start([]);
  gate.shut = open;
  const adds = [1, 2, 3, 4, 5].map((port) => ports.add(`pod${port}`, [forward(port)], node));
  resolve();
  await Promise.all(adds);
  assert.ok(calls.length <= 3, `${calls.length} runs`);
  for (const port of [1, 2, 3, 4, 5]) assert.match(calls.at(-1)?.stdin ?? "", new RegExp(`tcp \\. ${port} :`));
});

Deno.test("UDP flows that began before are forgotten, TCP ones are not", async () => {
  const { ports, calls } = world();
  await ports.start([]);
  await ports.add("a", [forward(53, { protocol: "udp" }), forward(80)], node);
  const flows = calls.filter(({ argv }) => argv[0] === "conntrack").map(({ argv }) => argv.join(" "));
  assert.deepEqual(flows, ["conntrack -D -f ipv4 -p udp --orig-port-dst 53"]);
});

Deno.test("two daemons on one node keep their tables apart", async () => {
  const seen: string[] = [];
  for (const instance of ["", "/var/lib/one/cni", "/var/lib/two/cni"]) {
    const ports = new HostPorts({ instance, logger: silentLogger }, {
      run: (_, { stdin }) => {
        seen.push(/add table inet (\S+)/.exec(String(stdin))?.[1] ?? "");
        return Promise.resolve({ exitCode: 0, signal: undefined, stdout: new Uint8Array(), stderr: new Uint8Array() });
      },
    });
    await ports.start([]);
  }
  assert.equal(new Set(seen).size, 3);
  for (const name of seen) assert.match(name, /^crio-hostports(-[0-9a-f]{8})?$/);
});
