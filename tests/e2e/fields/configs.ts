import assert from "node:assert/strict";
import { DNSConfig, KeyValue, PortMapping, Signal } from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { exited, statusOf, until } from "../harness/tries.ts";
import type { FieldBench, FieldCheck } from "./check.ts";

/** The output of a command that ends, in a pod with these settings. */
async function output(
  bench: FieldBench,
  script: string,
  change: Parameters<FieldBench["pod"]>[0],
): Promise<string> {
  const pod = await bench.pod(change);
  return (await pod.output({ command: ["/bin/sh", "-c", script] })).text;
}

async function dns(bench: FieldBench, fields: Partial<DNSConfig>): Promise<string> {
  return await output(bench, "cat /etc/resolv.conf", (config) => {
    config.dnsConfig = message(DNSConfig, { servers: ["10.0.0.10"], ...fields });
  });
}

async function fromNode(address: string, port: number): Promise<string> {
  using connection = await Deno.connect({ hostname: address, port });
  return await new Response(connection.readable).text();
}

/** A pod that answers on its port 8080, mapped so; what the node hears at the address and port. */
async function mapped(
  bench: FieldBench,
  fields: Partial<PortMapping>,
  ask: [address: string, port: number],
): Promise<string> {
  const pod = await bench.pod((config) => {
    config.portMappings = [message(PortMapping, { containerPort: 8080, hostPort: 18_081, ...fields })];
  });
  // It listens without a gap: no answer means that the port does not lead there.
  await pod.start({ command: ["busybox", "nc", "-ll", "-p", "8080", "-e", "/bin/echo", "from the pod"] });
  return await until("the port", () => fromNode(...ask).then((text) => text || undefined, () => undefined));
}

export const CONFIG_FIELDS: readonly FieldCheck[] = [
  {
    field: "PodSandboxConfig.hostname",
    shows: "the name of the pod's UTS namespace",
    prove: async (bench) => {
      assert.equal(await output(bench, "hostname", (config) => void (config.hostname = "own-name")), "own-name");
    },
  },
  {
    field: "PodSandboxConfig.logDirectory",
    shows: "the log is below it",
    prove: async (bench) => {
      const logDirectory = `${bench.lab.directory}/pods/own-${crypto.randomUUID()}`;
      const pod = await bench.pod((config) => void (config.logDirectory = logDirectory));
      await pod.output({ command: ["/bin/true"] });
      assert.ok((await Deno.stat(`${logDirectory}/c0/0.log`)).isFile);
    },
  },
  {
    field: "PodSandboxConfig.dnsConfig",
    shows: "/etc/resolv.conf has the server",
    prove: async (bench) => assert.match(await dns(bench, {}), /^nameserver 10\.0\.0\.10$/m),
  },
  {
    field: "DNSConfig.servers",
    shows: "/etc/resolv.conf has the server",
    prove: async (bench) => assert.match(await dns(bench, {}), /^nameserver 10\.0\.0\.10$/m),
  },
  {
    field: "DNSConfig.searches",
    shows: "/etc/resolv.conf has the search list",
    prove: async (bench) => assert.match(await dns(bench, { searches: ["a.svc", "svc"] }), /^search a\.svc svc$/m),
  },
  {
    field: "DNSConfig.options",
    shows: "/etc/resolv.conf has the option",
    prove: async (bench) => assert.match(await dns(bench, { options: ["ndots:5"] }), /^options ndots:5$/m),
  },
  {
    field: "PodSandboxConfig.portMappings",
    shows: "the node's port leads to the pod",
    prove: async (bench) => assert.equal(await mapped(bench, {}, ["127.0.0.1", 18_081]), "from the pod\n"),
  },
  {
    field: "PortMapping.containerPort",
    shows: "the node's port leads to that port",
    prove: async (bench) => assert.equal(await mapped(bench, {}, ["127.0.0.1", 18_081]), "from the pod\n"),
  },
  {
    field: "PortMapping.hostPort",
    shows: "that port of the node leads to the pod",
    prove: async (bench) => assert.equal(await mapped(bench, {}, ["127.0.0.1", 18_081]), "from the pod\n"),
  },
  {
    field: "PortMapping.hostIp",
    shows: "other addresses of the node do not lead to the pod",
    prove: async (bench) => {
      assert.equal(await mapped(bench, { hostIp: "127.0.0.1" }, ["127.0.0.1", 18_081]), "from the pod\n");
      await assert.rejects(fromNode("10.238.77.1", 18_081));
    },
  },
  {
    field: "LinuxPodSandboxConfig.sysctls",
    shows: "/proc/sys in the pod",
    prove: async (bench) => {
      const name = "net.ipv4.ip_unprivileged_port_start";
      const text = await output(bench, `cat /proc/sys/${name.replaceAll(".", "/")}`, (config) => {
        config.linux?.sysctls.set(name, "80");
      });
      assert.equal(text, "80");
    },
  },
  {
    field: "LinuxPodSandboxConfig.cgroupParent",
    shows: "containers are in cgroups below it",
    prove: async (bench) => {
      const id = await bench.container(() => {});
      const { info } = await bench.lab.daemon.client.call("containerStatus", { containerId: id, verbose: true });
      const { pid } = JSON.parse(info.get("info") ?? "{}");
      assert.ok((await Deno.readTextFile(`/proc/${pid}/cgroup`)).includes(`${bench.lab.cgroup.path}/crio-`));
    },
  },
  {
    field: "ContainerConfig.command",
    shows: "the process's program",
    prove: async (bench) => {
      const pod = await bench.pod();
      assert.equal((await pod.output({ command: ["/bin/echo", "word"] })).text, "word");
    },
  },
  {
    field: "ContainerConfig.args",
    shows: "the process's arguments",
    prove: async (bench) => {
      const pod = await bench.pod();
      const change = { change: (config: { args: string[] }): void => void (config.args = ["one", "two"]) };
      assert.equal((await pod.output({ command: ["/bin/echo"], ...change })).text, "one two");
    },
  },
  {
    field: "ContainerConfig.workingDir",
    shows: "the process's working directory",
    prove: async (bench) => {
      const id = await bench.container((config) => void (config.workingDir = "/made/for/it"));
      assert.equal(await bench.exec(id, "pwd"), "/made/for/it");
    },
  },
  {
    field: "ContainerConfig.envs",
    shows: "the process's environment",
    prove: async (bench) => {
      const value = new TextEncoder().encode("green");
      const id = await bench.container((config) => void (config.envs = [message(KeyValue, { key: "COLOUR", value })]));
      assert.equal(await bench.shell(id, "echo $COLOUR"), "green");
    },
  },
  {
    field: "ContainerConfig.logPath",
    shows: "the log is at that place below the pod's directory",
    prove: async (bench) => {
      const pod = await bench.pod();
      const command = ["/bin/echo", "word"];
      const { status } = await pod.output({ command, change: (config) => void (config.logPath = "other/7.log") });
      assert.equal(status.logPath, `${pod.config.logDirectory}/other/7.log`);
      assert.match(await Deno.readTextFile(`${pod.config.logDirectory}/other/7.log`), /word/);
    },
  },
  {
    field: "ContainerConfig.stdin",
    shows: "the process waits for input instead of finding its end",
    prove: async (bench) => {
      const pod = await bench.pod();
      const command = ["/bin/sh", "-c", "read line; echo over"];
      const waiting = await pod.start({ command, change: (config) => void (config.stdin = true) });
      const { status } = await pod.output({ command });
      assert.equal(status.exitCode, 0);
      assert.notEqual((await statusOf(bench.lab, waiting)).state, status.state);
    },
  },
  {
    field: "ContainerConfig.tty",
    shows: "the process's output is a terminal",
    prove: async (bench) => {
      const pod = await bench.pod();
      const command = ["/bin/sh", "-c", "test -t 1 && echo terminal"];
      const { text } = await pod.output({ command, change: (config) => void (config.tty = true) });
      assert.match(text, /terminal/);
    },
  },
  {
    field: "ContainerConfig.stopSignal",
    shows: "StopContainer sends that signal first",
    prove: async (bench) => {
      const script = "trap 'exit 9' USR1; trap 'exit 0' TERM; touch /ready; while :; do sleep 0.1; done";
      const id = await bench.container((config) => void (config.stopSignal = Signal.SIGUSR1), [
        "/bin/sh",
        "-c",
        script,
      ]);
      await until("its traps", async () => await bench.exec(id, "ls", "/ready") === "/ready" || undefined);
      await bench.lab.daemon.client.call("stopContainer", { containerId: id, timeout: 10n });
      assert.equal((await exited(bench.lab, id)).exitCode, 9);
    },
  },
];
