import assert from "node:assert/strict";
import { type ContainerConfig, KeyValue, LinuxContainerResources } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { NRI_PLUGINS, NriPlugin, type NriVersion, readNriLines } from "./harness/nri_plugin.ts";
import { execText, exited, pidOf, PodUnderTest, procStatus, until } from "./harness/tries.ts";

const VERSIONS = Object.keys(NRI_PLUGINS) as NriVersion[];
/** Plugins are built with Go where there is one. */
const ignore = Object.values(NRI_PLUGINS).includes("");
if (ignore) {
  const reason = "tests of NRI plugins are skipped: no Go to build them with (scripts/go-program nri-plugin)\n";
  Deno.stdout.writeSync(new TextEncoder().encode(reason));
}
const MEBI = 1024 * 1024;

async function limitOf(pid: number, name: string): Promise<string> {
  const line = (await Deno.readTextFile(`/proc/${pid}/limits`)).split("\n").find((one) => one.startsWith(name));
  return line?.slice(name.length).trim().split(/\s+/).slice(0, 2).join(" ") ?? "";
}

/** The memory limit of a process's cgroup, v1 or v2, as the kernel has it. */
async function memoryLimitOf(pid: number): Promise<number> {
  const lines = (await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim().split("\n").map((line) => line.split(":"));
  const v1 = lines.find(([, controllers]) => controllers?.split(",").includes("memory"));
  const path = v1 === undefined
    ? `/sys/fs/cgroup${lines[0]?.[2]}/memory.max`
    : `/sys/fs/cgroup/memory${v1[2]}/memory.limit_in_bytes`;
  return Number(await Deno.readTextFile(path));
}

for (const version of VERSIONS) {
  Deno.test({
    name: `a plugin built with NRI ${version} takes part in the life of pods and containers`,
    ignore,
    fn: async () => {
      await using lab = await Lab.start({ nri: true });
      await lab.pull();
      const early = await PodUnderTest.run(lab, "early");
      await early.start({ name: "here" });
      await using plugin = await NriPlugin.join(lab, { version, index: "10", name: "test" });
      const told = await plugin.heard("Synchronize");
      assert.deepEqual([told.pods, told.containers], [["early"], ["here"]]);
      assert.match((await plugin.heard("Configure")).runtime ?? "", /^cri-o \d/);
      const pod = await PodUnderTest.run(lab, "late");
      const id = await pod.start({ name: "main", command: ["/bin/sh", "-c", "exit 3"] });
      await exited(lab, id);
      await until("its end", async () => (await plugin.lines()).find(({ event }) => event === "StopContainer"));
      await pod.remove();
      const events = (await plugin.lines()).filter((line) => line.pod === "late").map(({ event }) => event);
      assert.deepEqual(events, [
        "RunPodSandbox",
        "CreateContainer",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "StopContainer",
        "StopPodSandbox",
        "RemoveContainer",
        "RemovePodSandbox",
      ]);
      const { message } = await plugin.heard("CreateContainer");
      assert.equal(message?.["name"], "main");
      assert.deepEqual(message?.["args"], ["/bin/sh", "-c", "exit 3"]);
      await plugin.follow({ refuse: { RunPodSandbox: "no room" } });
      await assert.rejects(PodUnderTest.run(lab, "refused"), /10-test refused RunPodSandbox: no room/);
      await early.remove();
      assert.deepEqual(await lab.leaks(), []);
    },
  });
}

/** A container of each runtime that a plugin changes in every way that the kernel can be asked about. */
for (const runtime of ["crun", "runc"] as const) {
  Deno.test({
    name: `${runtime}: what plugins adjust and update is seen by the kernel`,
    ignore,
    fn: async (t) => {
      await using lab = await Lab.start({ nri: true, defaultRuntime: runtime });
      const { client } = lab.daemon;
      await lab.pull();
      const pod = await PodUnderTest.run(lab, "pod");
      const other = await pod.start({ name: "other" });
      await Deno.mkdir(`${lab.directory}/shared`);
      await Deno.writeTextFile(`${lab.directory}/shared/file`, "from the plugin\n");
      const hook = `${lab.directory}/hook`;
      await Deno.writeTextFile(hook, `#!/bin/sh\ncat > ${lab.directory}/hooked\n`, { mode: 0o755 });
      const update = {
        containerId: other,
        linux: { resources: { memory: { limit: { value: String(64 * MEBI) } } } },
      };
      const adjust = {
        main: {
          env: [{ key: "ADDED", value: "by=plugin" }, { key: "-GONE" }],
          annotations: { "nri.example/added": "yes" },
          mounts: [{
            destination: "/plugin",
            type: "bind",
            source: `${lab.directory}/shared`,
            options: ["rbind", "ro", "rprivate"],
          }],
          rlimits: [{ type: "RLIMIT_NOFILE", soft: "111", hard: "222" }],
          hooks: { createRuntime: [{ path: hook, args: ["hook"] }] },
          linux: {
            devices: [{ path: "/dev/plugged", type: "c", major: "1", minor: "5", fileMode: { value: 0o666 } }],
            oomScoreAdj: { value: "500" },
            sysctl: { "net.ipv4.ip_unprivileged_port_start": "77" },
            resources: { memory: { limit: { value: String(96 * MEBI) } }, pids: { limit: "55" } },
            namespaces: [{ type: "-ipc" }],
            seccompPolicy: {
              defaultAction: "SCMP_ACT_ALLOW",
              syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: { value: 28 } }],
            },
          },
        },
        replaced: { args: ["/bin/sh", "-c", "echo replaced"] },
      };
      await using plugin = await NriPlugin.join(lab, {
        version: "v0.12.5",
        index: "10",
        name: "adjuster",
        script: { adjust, updates: { CreateContainer: [update] } },
      });
      const change = ({ envs }: ContainerConfig): void => void envs.push(message(KeyValue, { key: "GONE" }));
      const id = await pod.start({ name: "main", change });
      const pid = await pidOf(lab, id);

      await t.step("environment, limits, OOM score, namespaces and system calls of the process", async () => {
        const environment = (await Deno.readTextFile(`/proc/${pid}/environ`)).split("\0");
        assert.ok(environment.includes("ADDED=by=plugin"));
        assert.ok(!environment.some((line) => line.startsWith("GONE=")));
        assert.equal(await limitOf(pid, "Max open files"), "111 222");
        assert.equal((await Deno.readTextFile(`/proc/${pid}/oom_score_adj`)).trim(), "500");
        assert.equal(await Deno.readLink(`/proc/${pid}/ns/ipc`), await Deno.readLink("/proc/self/ns/ipc"));
        assert.equal((await procStatus(pid)).get("Seccomp"), "2");
        assert.match(await execText(lab, id, "/bin/busybox", "mkdir", "/x"), /No space left/);
      });
      await t.step("mounts, devices and sysctls that it sees", async () => {
        assert.equal(await execText(lab, id, "cat", "/plugin/file"), "from the plugin");
        assert.match(await execText(lab, id, "touch", "/plugin/new"), /Read-only/);
        assert.equal(await execText(lab, id, "/bin/busybox", "head", "-c", "3", "/dev/plugged"), "\0\0\0");
        assert.equal(await execText(lab, id, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "77");
      });
      await t.step("its cgroup, and that of another container", async () => {
        assert.equal(await memoryLimitOf(pid), 96 * MEBI);
        assert.equal(await memoryLimitOf(await pidOf(lab, other)), 64 * MEBI);
        const { status } = await client.call("containerStatus", { containerId: id });
        assert.equal(status?.resources?.linux?.memoryLimitInBytes, BigInt(96 * MEBI));
      });
      await t.step("hooks run, and arguments are replaced", async () => {
        const state = JSON.parse(await Deno.readTextFile(`${lab.directory}/hooked`));
        assert.deepEqual([state.id, state.annotations["nri.example/added"]], [id, "yes"]);
        assert.equal((await pod.output({ name: "replaced" })).text, "replaced");
      });
      await t.step("plugins change updates of clients, and ask for their own", async () => {
        const asked = { linux: { resources: { memory: { limit: { value: String(80 * MEBI) } } } } };
        await plugin.follow({
          updates: { UpdateContainer: [{ containerId: id, ...asked }] },
          ask: { UpdateContainer: [{ ...update, linux: asked.linux }] },
        });
        const linux = message(LinuxContainerResources, { memoryLimitInBytes: BigInt(70 * MEBI) });
        await client.call("updateContainerResources", { containerId: id, linux });
        assert.equal(await memoryLimitOf(pid), 80 * MEBI);
        assert.equal(await memoryLimitOf(await pidOf(lab, other)), 80 * MEBI);
        await plugin.heard("PostUpdateContainer");
      });
      await t.step("two plugins that set the same are told apart", async () => {
        const env = { both: { env: [{ key: "X", value: "1" }] } };
        await plugin.follow({ adjust: env });
        await using _second = await NriPlugin.join(lab, {
          version: "v0.9.0",
          index: "20",
          name: "second",
          script: { adjust: env },
        });
        await assert.rejects(pod.create({ name: "both" }), /"10-adjuster" and "20-second" both set Env X/);
        await plugin.follow({ invalid: "not in this house" });
        await assert.rejects(pod.create({ name: "any" }), /validator 10-adjuster refused .*not in this house/);
      });
      await plugin.follow({});
      await pod.remove();
      assert.deepEqual(await lab.leaks(), []);
    },
  });
}

Deno.test({
  name: "plugins that hang, die or send garbage are closed, and nothing else is disturbed",
  ignore,
  fn: async () => {
    await using lab = await Lab.start({ nri: true, extraConfig: 'nri_plugin_request_timeout = "300ms"\n' });
    await lab.pull();
    const scripts = { hangs: { delayMs: { CreateContainer: 60_000 } }, dies: { exit: ["CreateContainer"] } };
    await using well = await NriPlugin.join(lab, { version: "v0.12.5", index: "90", name: "well" });
    const pod = await PodUnderTest.run(lab, "pod");
    for (const [name, script] of Object.entries(scripts)) {
      await using plugin = await NriPlugin.join(lab, { version: "v0.9.0", index: "10", name, script });
      await pod.start({ name });
      await plugin.ended;
      await pod.start({ name: `after-${name}` });
    }
    const created = (await well.lines()).filter(({ event }) => event === "CreateContainer");
    assert.deepEqual(created.map(({ container }) => container), ["hangs", "after-hangs", "dies", "after-dies"]);
    await pod.remove();
  },
});

Deno.test({
  name: "installed plugins start and end with the daemon, with their configuration; garbage closes one",
  ignore,
  fn: async () => {
    await using lab = await Lab.start({
      nri: true,
      prepare: async (directory) => {
        await Deno.mkdir(`${directory}/nri-plugins`);
        await Deno.mkdir(`${directory}/nri-conf.d`);
        await Deno.copyFile(NRI_PLUGINS["v0.12.5"], `${directory}/nri-plugins/10-good`);
        await Deno.copyFile(NRI_PLUGINS["v0.9.0"], `${directory}/nri-plugins/20-bad`);
        await Deno.writeTextFile(`${directory}/nri-conf.d/10-good.conf`, "mode: full\n");
        await Deno.writeTextFile(
          `${directory}/nri-plugins/20-bad.script`,
          JSON.stringify({ garbage: ["RunPodSandbox"] }),
        );
        await Deno.writeTextFile(`${directory}/nri-plugins/README`, "not a plugin\n");
      },
    });
    const log = `${lab.directory}/nri-plugins/10-good.log`;
    const [configured] = await readNriLines(log);
    assert.deepEqual([configured?.event, configured?.config], ["Configure", "mode: full\n"]);
    await lab.pull();
    const pod = await PodUnderTest.run(lab, "pod");
    await pod.remove();
    const events = (await readNriLines(log)).map(({ event }) => event);
    assert.deepEqual(events.slice(1), ["Synchronize", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]);
    const bad = (await readNriLines(`${lab.directory}/nri-plugins/20-bad.log`)).map(({ event }) => event);
    assert.deepEqual(bad, ["Configure", "Synchronize", "RunPodSandbox"]);
    await lab.daemon.stop();
    assert.deepEqual((await readNriLines(log)).at(-1)?.event, "Shutdown");
    const left: string[] = [];
    for await (const { name } of Deno.readDir("/proc")) {
      const command = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
      if (command.includes(`${lab.directory}/nri-plugins`)) left.push(name);
    }
    assert.deepEqual(left, []);
    await lab.daemon.start();
  },
});
