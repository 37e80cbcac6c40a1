/** Plugins that misbehave, as real processes: shell scripts that log their calls. */
import assert from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { CniError } from "../../src/network/errors.ts";
import { PodNetwork } from "../../src/network/pod_network.ts";

openLibraries();

const POD = { sandboxId: "pod1", netnsPath: "/nowhere", name: "p", namespace: "n", uid: "u" };
const RESULT = `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'`;

/** A network of the plugins `good` and `bad`; `bad` runs this shell text for ADD. */
async function withPlugins(
  add: string,
  body: (network: PodNetwork, trace: () => Promise<string[]>, directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "cni-bad-" });
  const log = `${directory}/log`;
  await Deno.mkdir(`${directory}/bin`);
  await Deno.mkdir(`${directory}/net.d`);
  const script = (name: string, text: string): Promise<void> =>
    Deno.writeTextFile(
      `${directory}/bin/${name}`,
      `#!/bin/sh\ncat > /dev/null\necho "$CNI_COMMAND ${name}" >> ${log}\n` +
        `case "$CNI_COMMAND" in ADD) ${text} ;; esac\n`,
      { mode: 0o755 },
    );
  await script("good", RESULT);
  await script("bad", add);
  const list = { cniVersion: "1.0.0", name: "test", plugins: [{ type: "good" }, { type: "bad" }] };
  await Deno.writeTextFile(`${directory}/net.d/1.conflist`, JSON.stringify(list));
  try {
    await using network = new PodNetwork({
      configDir: `${directory}/net.d`,
      pluginDirs: [`${directory}/bin`],
      cacheDir: `${directory}/cni`,
      logger: silentLogger,
    });
    await network.start(new AbortController().signal);
    await body(network, async () => (await Deno.readTextFile(log)).trim().split("\n"), directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const CASES: ReadonlyArray<readonly [name: string, add: string, message: RegExp]> = [
  ["crashes", "kill -SEGV $$", /\(run\): ended with signal 11, no message/],
  ["exits with text on stderr", "echo 'no driver' >&2; exit 3", /ended with exit code 3, and said: "no driver"/],
  ["prints an error object", `echo '{"code":7,"msg":"bad key","details":"mtu"}'; exit 1`, /\(run\): bad key; mtu$/],
  ["prints garbage", "echo '{\"ips\": ['", /\(read result\): printed something that is no JSON object/],
  ["prints a list", "echo '[]'", /\(read result\): printed something that is no JSON object/],
  ["prints nothing", ":", /\(read result\): succeeded without printing a result/],
];

for (const [name, add, message] of CASES) {
  Deno.test(`attach() explains and undoes a plugin that ${name}`, async () => {
    await withPlugins(add, async (network, trace, directory) => {
      await assert.rejects(network.attach(POD, { signal: AbortSignal.timeout(20_000) }), message);
      assert.deepEqual(await trace(), ["ADD good", "ADD bad", "DEL bad", "DEL good"]);
      for (const folder of ["results", "pending"]) {
        assert.deepEqual(await Array.fromAsync(Deno.readDir(`${directory}/cni/${folder}`)), []);
      }
    });
  });
}

Deno.test("attach() kills a plugin that hangs, with its children, when the time is over", async () => {
  await withPlugins(
    "cd ${0%/bin/*}; mkfifo up; sleep 1000 & echo $! > pid; echo > up; wait",
    async (network, trace, directory) => {
      const stop = new AbortController();
      const attaching = network.attach(POD, { signal: stop.signal });
      const failed = assert.rejects(attaching, (error: unknown) => {
        assert.ok(error instanceof CniError);
        assert.deepEqual([error.kind, error.stage, error.plugin], ["deadline_exceeded", "run", "bad"]);
        assert.match(error.message, /out of time; the plugin was killed/);
        return true;
      });
      while (!(await Array.fromAsync(Deno.readDir(directory))).some(({ name }) => name === "up")) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await Deno.readTextFile(`${directory}/up`);
      const child = (await Deno.readTextFile(`${directory}/pid`)).trim();
      stop.abort(new DOMException("late", "TimeoutError"));
      await failed;
      const state = await Deno.readTextFile(`/proc/${child}/stat`).then(
        (text) => text.split(") ")[1]?.[0],
        () => "gone",
      );
      assert.ok(state === "gone" || state === "Z", `the plugin's child is ${state}`);
      assert.deepEqual(await trace(), ["ADD good", "ADD bad", "DEL bad", "DEL good"]);
    },
  );
});

Deno.test("attach() says that a plugin file is not a program", async () => {
  await withPlugins(":", async (network, _trace, directory) => {
    await Deno.writeTextFile(`${directory}/bin/bad`, "", { mode: 0o644 });
    await Deno.chmod(`${directory}/bin/bad`, 0o644);
    await assert.rejects(
      network.attach(POD, { signal: AbortSignal.timeout(20_000) }),
      /bad of network test: ADD failed .*\(start\): execute .*EACCES/,
    );
  });
});
