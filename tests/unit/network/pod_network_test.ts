import assert from "node:assert/strict";
import { FailedPreconditionError, InvalidArgumentError, UnavailableError } from "../../../src/base/errors.ts";
import { type Logger, silentLogger } from "../../../src/base/logger.ts";
import type { CommandOptions, CommandResult } from "../../../src/linux/command.ts";
import { CniError } from "../../../src/network/errors.ts";
import { HostPorts } from "../../../src/network/host_ports/host_ports.ts";
import { PodNetwork, type PodNetworkOptions } from "../../../src/network/pod_network.ts";
import type { JsonObject, PodNetworkRequest } from "../../../src/network/types.ts";

interface Call {
  readonly plugin: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  readonly config: JsonObject;
}

/** What a fake plugin answers: an object for its stdout, or an exit code with text. */
type Answer =
  | JsonObject
  | { readonly exitCode: number; readonly stdout?: string; readonly stderr?: string }
  | undefined;

interface World {
  readonly network: PodNetwork;
  readonly directory: string;
  readonly calls: Call[];
  /** `PLUGIN COMMAND` of each call. */
  trace(): string[];
  configure(value: unknown, name?: string): Promise<void>;
  untilNotReady(): Promise<void>;
  /** The same node's network as the next process sees it. */
  again(hostPorts: HostPorts): PodNetwork;
}

interface Setup {
  readonly options?: Partial<PodNetworkOptions>;
  readonly plugins?: readonly string[];
  readonly answer?: (call: Call, signal: AbortSignal | undefined) => Answer | Promise<Answer>;
  readonly isNamespace?: (path: string) => boolean;
  readonly logger?: Logger;
  readonly hostPorts?: HostPorts;
}

const RESULT = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }] };
const POD: PodNetworkRequest = { sandboxId: "pod1", netnsPath: "/netns/1", name: "p", namespace: "n", uid: "u" };
const LIST = { cniVersion: "1.0.0", name: "net", plugins: [{ type: "one", key: 1 }, { type: "two" }] };
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(10_000) });

async function withWorld(setup: Setup, body: (world: World) => Promise<void>): Promise<void> {
  const { options, plugins = ["one", "two"], answer = (): Answer => RESULT, isNamespace = () => true } = setup;
  const directory = await Deno.makeTempDir({ prefix: "pod-network-" });
  const [configDir, pluginDir] = [`${directory}/net.d`, `${directory}/bin`];
  await Deno.mkdir(configDir);
  await Deno.mkdir(pluginDir);
  for (const name of plugins) await Deno.writeTextFile(`${pluginDir}/${name}`, "");
  const calls: Call[] = [];
  const run = async (argv: readonly string[], commandOptions: CommandOptions): Promise<CommandResult> => {
    const { env = {}, stdin = "", signal } = commandOptions;
    const plugin = argv[0]?.slice(pluginDir.length + 1) ?? "";
    const call = { plugin, command: env["CNI_COMMAND"] ?? "", env, config: JSON.parse(String(stdin)) };
    calls.push(call);
    const given = await answer(call, signal);
    const [exitCode, stdout, stderr] = given !== undefined && typeof given["exitCode"] === "number"
      ? [given["exitCode"], String(given["stdout"] ?? ""), String(given["stderr"] ?? "")]
      : [0, given === undefined ? "" : JSON.stringify(given), ""];
    const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
    return { exitCode, signal: undefined, stdout: encode(stdout), stderr: encode(stderr) };
  };
  try {
    const make = (hostPorts: HostPorts | undefined): PodNetwork =>
      new PodNetwork({
        configDir,
        pluginDirs: [pluginDir],
        cacheDir: `${directory}/cni`,
        logger: silentLogger,
        ...options,
      }, { run, isNamespace, ...(hostPorts === undefined ? {} : { hostPorts }) });
    await using network = make(setup.hostPorts);
    await body({
      again: make,
      network,
      directory,
      calls,
      trace: () => calls.map(({ plugin, command }) => `${plugin} ${command}`),
      configure: (value, name = "10-net.conflist") => Deno.writeTextFile(`${configDir}/${name}`, JSON.stringify(value)),
      untilNotReady: async () => {
        const { promise: late, reject } = Promise.withResolvers<never>();
        const timer = setTimeout(() => reject(new Error(JSON.stringify(network.status()))), 10_000);
        try {
          while (network.status().ready) await Promise.race([late, nextTurn()]);
        } finally {
          clearTimeout(timer);
        }
      },
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

async function started(world: World): Promise<PodNetwork> {
  await world.network.start(new AbortController().signal);
  return world.network;
}

function messageOfStatus(network: PodNetwork): string {
  const status = network.status();
  return status.ready ? "ready" : status.message;
}

Deno.test("attach() chains the plugins with prevResult, capabilities and arguments", async () => {
  await withWorld({}, async (world) => {
    const list = { ...LIST, plugins: [LIST.plugins[0], { type: "two", capabilities: { portMappings: true } }] };
    await world.configure(list);
    const network = await started(world);
    const portMappings = [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" }] as const;
    const { ips, result } = await network.attach({ ...POD, portMappings }, soon());
    assert.deepEqual([ips, result.raw], [["10.0.0.2"], RESULT]);
    assert.deepEqual(world.trace(), ["one ADD", "two ADD"]);
    const [one, two] = world.calls;
    assert.deepEqual(one?.config, { cniVersion: "1.0.0", name: "net", type: "one", key: 1 });
    assert.deepEqual(two?.config, {
      cniVersion: "1.0.0",
      name: "net",
      type: "two",
      capabilities: { portMappings: true },
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
      prevResult: RESULT,
    });
    const { PATH, ...env } = one?.env ?? {};
    assert.ok(PATH);
    assert.deepEqual(env, {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "pod1",
      CNI_NETNS: "/netns/1",
      CNI_IFNAME: "eth0",
      CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=pod1;K8S_POD_UID=u",
      CNI_PATH: `${world.directory}/bin`,
    });
  });
});

Deno.test("detach() deletes in reverse with the cached configuration, then knows nothing more", async () => {
  const gone = { isNamespace: (): boolean => false };
  await withWorld(gone, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await network.attach(POD, soon());
    await Deno.remove(`${world.directory}/net.d/10-net.conflist`);
    await world.untilNotReady();
    world.calls.length = 0;
    assert.deepEqual(await network.restore("pod1"), ["10.0.0.2"]);
    await network.detach(POD, soon());
    assert.deepEqual(world.trace(), ["two DEL", "one DEL"]);
    assert.deepEqual(world.calls[0]?.config["prevResult"], RESULT);
    assert.equal(world.calls[0]?.env["CNI_NETNS"], "", "the namespace is gone");
    await network.detach(POD, soon());
    assert.equal(world.calls.length, 2, "nothing is cached and nothing is configured");
    assert.equal(await network.restore("pod1"), undefined);
  });
});

Deno.test("detach() asks every plugin even if one fails, and stays known for the next try", async () => {
  let broken = true;
  const answer = ({ command, plugin }: Call): Answer =>
    command === "DEL" && plugin === "two" && broken ? { exitCode: 1, stdout: '{"code":11,"msg":"busy"}' } : RESULT;
  await withWorld({ answer }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await network.attach(POD, soon());
    await assert.rejects(network.detach(POD, soon()), (error: unknown) => {
      assert.ok(error instanceof CniError);
      assert.deepEqual([error.plugin, error.command, error.code, error.kind], ["two", "DEL", 11, "unavailable"]);
      return true;
    });
    assert.deepEqual(world.trace().slice(2), ["two DEL", "one DEL"]);
    broken = false;
    await network.detach(POD, soon());
    assert.equal(await network.restore("pod1"), undefined);
  });
});

Deno.test("attach() takes back what was added when a plugin fails, and says what it said", async () => {
  const failures: ReadonlyArray<readonly [Answer, RegExp]> = [
    [
      { exitCode: 1, stdout: '{"cniVersion":"1.0.0","code":100,"msg":"no addresses","details":"range full"}' },
      /no addresses; range full/,
    ],
    [{ exitCode: 2, stdout: "garbage", stderr: "panic: x" }, /exit code 2, and said: "garbage"; "panic: x"/],
    [{ exitCode: 3 }, /exit code 3, no message/],
    [{ exitCode: 0, stdout: "not json" }, /printed something that is no JSON object: "not json"/],
    [undefined, /succeeded without printing a result/],
  ];
  for (const [failure, message] of failures) {
    const answer = ({ command, plugin }: Call): Answer => command === "ADD" && plugin === "two" ? failure : RESULT;
    await withWorld({ answer }, async (world) => {
      await world.configure({ ...LIST, plugins: [...LIST.plugins, { type: "one", last: true }] });
      const network = await started(world);
      await assert.rejects(network.attach(POD, soon()), (error: unknown) => {
        assert.ok(error instanceof CniError);
        assert.match(error.message, message);
        assert.match(error.message, /^CNI plugin two of network net: ADD failed after \d+ ms/);
        return true;
      });
      assert.deepEqual(world.trace(), ["one ADD", "two ADD", "two DEL", "one DEL"]);
      assert.equal(await network.restore("pod1"), undefined);
      assert.deepEqual(await Array.fromAsync(Deno.readDir(`${world.directory}/cni/pending`)), []);
    });
  }
});

Deno.test("attach() takes back a result that cannot be read", async () => {
  const answer = (): Answer => ({ ips: [{ address: "nonsense" }] });
  await withWorld({ answer }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await assert.rejects(network.attach(POD, soon()), /"nonsense" is not an address/);
    assert.deepEqual(world.trace(), ["one ADD", "two ADD", "two DEL", "one DEL"]);
  });
});

Deno.test("attach() that cannot be undone stays on disk for collectGarbage()", async () => {
  let broken = true;
  const answer = (): Answer => broken ? { exitCode: 1 } : RESULT;
  await withWorld({ answer }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await assert.rejects(network.attach(POD, soon()), CniError);
    await network.collectGarbage(new Set(), soon());
    broken = false;
    world.calls.length = 0;
    await network.collectGarbage(new Set(), soon());
    assert.deepEqual(world.trace(), ["two DEL", "one DEL"]);
    world.calls.length = 0;
    await network.collectGarbage(new Set(), soon());
    assert.deepEqual(world.trace(), []);
  });
});

Deno.test("attach() maps host ports itself where no plugin does, keeps them over a restart, and closes them first", async () => {
  const portMappings = [{ protocol: "udp", containerPort: 53, hostPort: 53, hostIp: "" }] as const;
  const rules: string[] = [];
  const hostPorts = (): HostPorts =>
    new HostPorts({ instance: "", logger: silentLogger }, {
      run: (argv, { stdin }) => {
        if (argv[1] === "nft") rules.push(/udp . 53 : [^ ]+ . 53/.exec(String(stdin))?.[0] ?? "none");
        return Promise.resolve({ exitCode: 0, signal: undefined, stdout: new Uint8Array(), stderr: new Uint8Array() });
      },
    });
  await withWorld({ hostPorts: hostPorts() }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await network.attach({ ...POD, portMappings }, soon());
    assert.deepEqual(rules, ["none", "udp . 53 : 10.0.0.2 . 53"]);
    assert.deepEqual(world.trace(), ["one ADD", "two ADD"]);
    await using next = world.again(hostPorts());
    await next.start(new AbortController().signal);
    await next.collectGarbage(new Set([POD.sandboxId]), soon());
    // The start sets what is to stay in the background; a detach waits for that.
    await next.detach(POD, soon());
    assert.deepEqual(rules.slice(2), ["udp . 53 : 10.0.0.2 . 53", "none"]);
    assert.deepEqual(world.trace().slice(2), ["two DEL", "one DEL"]);
  });
});

Deno.test("attach() takes the network back when the host ports cannot be mapped", async () => {
  const portMappings = [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" }] as const;
  const hostPorts = new HostPorts({ instance: "", logger: silentLogger }, {
    run: () => Promise.resolve({ exitCode: 1, signal: undefined, stdout: new Uint8Array(), stderr: new Uint8Array() }),
  });
  await withWorld({ hostPorts }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await assert.rejects(network.attach({ ...POD, portMappings }, soon()), FailedPreconditionError);
    assert.deepEqual(world.trace(), ["one ADD", "two ADD", "two DEL", "one DEL"]);
    assert.equal(await network.restore(POD.sandboxId), undefined);
  });
});

Deno.test("attach() refuses a bad annotation before any plugin runs, and detach() of such a pod succeeds", async () => {
  await withWorld({}, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    const pod = { ...POD, annotations: { "kubernetes.io/egress-bandwidth": "fast" } };
    await assert.rejects(network.attach(pod, soon()), InvalidArgumentError);
    await network.detach(pod, soon());
    assert.deepEqual(world.trace(), []);
  });
});

Deno.test("attach() is stopped by its signal and still cleans up", async () => {
  const stop = new AbortController();
  const answer = async ({ command }: Call, signal: AbortSignal | undefined): Promise<Answer> => {
    if (command !== "ADD") return RESULT;
    stop.abort(new DOMException("late", "TimeoutError"));
    await nextTurn();
    signal?.throwIfAborted();
    return RESULT;
  };
  await withWorld({ answer }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await assert.rejects(network.attach(POD, { signal: stop.signal }), (error: unknown) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.kind, "deadline_exceeded");
      return true;
    });
    assert.deepEqual(world.trace(), ["one ADD", "one DEL"]);
  });
});

Deno.test("status() follows the configuration directory, and waitReady() wakes", async () => {
  await withWorld({}, async (world) => {
    const network = await started(world);
    assert.deepEqual(network.status(), {
      ready: false,
      reason: "NetworkPluginNotReady",
      message: "Network plugin returns error: No CNI configuration file in " +
        `${world.directory}/net.d. Has your network provider started?`,
    });
    await assert.rejects(network.attach(POD, soon()), UnavailableError);
    await assert.rejects(network.waitReady({ signal: AbortSignal.abort() }), /not ready: .*No CNI configuration file/);
    const waiting = network.waitReady(soon());
    await world.configure(LIST);
    await waiting;
    await world.configure("broken");
    await world.untilNotReady();
    assert.match(messageOfStatus(network), /No usable CNI configuration file.*10-net.conflist: must be a JSON object/);
  });
});

Deno.test("status() names a plugin that is missing, and is ready once it is installed", async () => {
  await withWorld({ plugins: ["one"] }, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    assert.match(messageOfStatus(network), /10-net.conflist needs the CNI plugin two, which is not in .*\/bin/);
    await Deno.writeTextFile(`${world.directory}/bin/two`, "");
    await network.waitReady(soon());
  });
});

Deno.test("status() takes the default network by name", async () => {
  await withWorld({ options: { defaultNetwork: "b" } }, async (world) => {
    await world.configure({ ...LIST, name: "a" }, "1.conflist");
    const network = await started(world);
    assert.match(messageOfStatus(network), /CNI network "b" \(cni_default_network\) not found in .*which has a/);
    await world.configure({ ...LIST, name: "b", plugins: [{ type: "two" }] }, "2.conflist");
    await network.waitReady(soon());
    await network.attach(POD, soon());
    assert.deepEqual(world.trace(), ["two ADD"]);
  });
});

Deno.test("status() of a 1.1.0 network is what its plugins' STATUS says", async () => {
  let broken = true;
  const answer = ({ command }: Call): Answer =>
    command === "STATUS" && broken ? { exitCode: 1, stdout: '{"code":50,"msg":"no route yet"}' } : RESULT;
  await withWorld({ answer }, async (world) => {
    await world.configure({ ...LIST, cniVersion: "1.1.0" });
    const network = await started(world);
    while (!messageOfStatus(network).includes("no route yet")) await nextTurn();
    assert.match(messageOfStatus(network), /CNI plugin one of network net: STATUS failed .*no route yet/);
    broken = false;
    await network.waitReady(soon());
    const [status] = world.calls.slice(-2);
    assert.equal(status?.env["CNI_CONTAINERID"], undefined);
    assert.equal(world.trace().at(-1), "two STATUS");
  });
});

Deno.test("check() passes the cached result, and does nothing where the network rules it out", async () => {
  await withWorld({}, async (world) => {
    await world.configure(LIST);
    const network = await started(world);
    await network.check(POD, soon());
    await network.attach(POD, soon());
    await network.check(POD, soon());
    assert.deepEqual(world.trace().slice(2), ["one CHECK", "two CHECK"]);
    assert.deepEqual(world.calls[2]?.config["prevResult"], RESULT);
  });
});

Deno.test("collectGarbage() deletes only what is ours or dead, and tells 1.1.0 plugins what is valid", async () => {
  const alive = new Set(["/netns/other"]);
  await withWorld({ isNamespace: (path) => alive.has(path) }, async (world) => {
    await world.configure({ ...LIST, cniVersion: "1.1.0" });
    const network = await started(world);
    await network.waitReady(soon());
    await network.attach(POD, soon());
    const entry = (containerId: string, netns: string): JsonObject => ({
      kind: "cniCacheV1",
      containerId,
      ifName: "eth0",
      networkName: "net",
      netns,
      config: btoa(JSON.stringify(LIST)),
      cniArgs: [["K8S_POD_INFRA_CONTAINER_ID", containerId]],
      result: RESULT,
    });
    const entries = [
      entry("other", "/netns/other"),
      entry("dead", "/netns/dead"),
      { ...entry("ours", "/netns/ours"), runtime: "crio" },
      { ...entry("valid", "/netns/valid"), runtime: "crio" },
      { ...entry("no-pod", "/netns/dead"), cniArgs: [] },
    ];
    for (const one of entries) {
      await Deno.writeTextFile(`${world.directory}/cni/results/net-${one["containerId"]}-eth0`, JSON.stringify(one));
    }
    world.calls.length = 0;
    await network.collectGarbage(new Set(["valid"]), soon());
    const deleted = world.calls.filter(({ command }) => command === "DEL").map(({ env }) => env["CNI_CONTAINERID"]);
    assert.deepEqual([...new Set(deleted)].sort(), ["dead", "ours"]);
    const collected = world.calls.filter(({ command }) => command === "GC");
    assert.deepEqual(collected.map(({ plugin }) => plugin), ["one", "two"]);
    const valid = collected[0]?.config["cni.dev/valid-attachments"] as Array<{ containerID: string; ifname: string }>;
    assert.deepEqual(valid.map(({ containerID }) => containerID).sort(), ["no-pod", "other", "pod1", "valid"]);
    assert.equal(valid[0]?.ifname, "eth0");
  });
});
