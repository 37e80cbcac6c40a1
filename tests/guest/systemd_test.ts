import assert from "node:assert/strict";
import { LinuxContainerResources } from "../../src/cri/gen/api.ts";
import { CriClient, message } from "../e2e/harness/cri_client.ts";
import { cgroupFile, kernelLimits } from "../e2e/harness/kernel_limits.ts";
import { Lab } from "../e2e/harness/lab.ts";
import { exited, pidOf, PodUnderTest, statusOf, until, type Wish } from "../e2e/harness/tries.ts";

const MEBI = 1024 * 1024;
const SERVICE = "crio-guest.service";

const isSystemd = await Deno.readTextFile("/proc/1/comm") === "systemd\n";
const isV2 = await Deno.stat("/sys/fs/cgroup/cgroup.controllers").then(() => true, () => false);
const ignore = !isSystemd || !isV2 || Deno.env.get("E2E_CGROUP_MANAGER") !== "systemd";
const why = ignore ? " (needs systemd, cgroup v2 and the systemd cgroup manager: scripts/guest-test)" : "";

async function run(...argv: string[]): Promise<string> {
  const [program = "", ...args] = argv;
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}

/** A property of a unit, as `systemctl show` prints it. */
async function property(unit: string, name: string): Promise<string> {
  return await run("systemctl", "show", "--value", "--property", name, unit);
}

async function cgroupPath(pid: number): Promise<string> {
  return (await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim().replace("0::", "");
}

function shell(script: string, resources: Partial<LinuxContainerResources>): Wish {
  return {
    command: ["/bin/sh", "-c", script],
    change: (config) => {
      config.annotations.set("io.kubernetes.pod.terminationGracePeriod", "45");
      config.linux = { securityContext: undefined, resources: message(LinuxContainerResources, resources) };
    },
  };
}

const STAYS = "trap 'exit 0' TERM; sleep 100000 & wait";

/** Swap of 128 MiB for the time of a test. */
async function withSwap(body: () => Promise<void>): Promise<void> {
  const file = await Deno.makeTempFile({ dir: "/var/tmp", prefix: "swap-" });
  try {
    await run("dd", "if=/dev/zero", `of=${file}`, "bs=1M", "count=128");
    await Deno.chmod(file, 0o600);
    await run("mkswap", file);
    await run("swapon", file);
    try {
      await body();
    } finally {
      await run("swapoff", file);
    }
  } finally {
    await Deno.remove(file);
  }
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test({ name: `${runtime}: pods in systemd's slices, with cgroup v2${why}`, ignore }, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const serial = crypto.randomUUID().slice(0, 8);
    const slice = `kubepods-burstable-pod${serial}.slice`;
    const place = `/kubepods.slice/kubepods-burstable.slice/${slice}`;
    const pod = await PodUnderTest.run(lab, "slices", {
      change: (config) => {
        if (config.linux !== undefined) config.linux.cgroupParent = slice;
      },
    });
    const monitorOf = async (id: string): Promise<number> => {
      const path = `${lab.directory}/runroot/overlay-containers/${id}/userdata/conmon-pidfile`;
      return Number(await Deno.readTextFile(path));
    };

    await t.step("a container and its monitor have scopes of their own in the pod's slice", async () => {
      const id = await pod.start(shell(STAYS, {}));
      const scope = `crio-${id}.scope`;
      // crun keeps the container, and its limits, in a cgroup below the scope that systemd does not touch.
      const below = runtime === "crun" ? "/container" : "";
      assert.equal(await cgroupPath(await pidOf(lab, id)), `${place}/${scope}${below}`);
      assert.equal(await cgroupPath(await monitorOf(id)), `${place}/crio-conmon-${id}.scope`);
      assert.equal(await property(scope, "Slice"), slice);
      assert.equal(await property(scope, "CollectMode"), "inactive-or-failed");
      assert.equal(await property(scope, "TimeoutStopUSec"), "45s");
      assert.equal(await property(`crio-conmon-${id}.scope`, "ActiveState"), "active");
      await lab.daemon.client.call("stopContainer", { containerId: id, timeout: 5n });
      await until("the end of both units", async () => {
        const states = await Promise.all([scope, `crio-conmon-${id}.scope`].map((unit) => property(unit, "LoadState")));
        return states.every((state) => state === "not-found") || undefined;
      });
    });

    await t.step("limits and their updates stay when systemd is reloaded", async () => {
      const limits = { cpuQuota: 40_000n, cpuPeriod: 80_000n, memoryLimitInBytes: BigInt(64 * MEBI) };
      const id = await pod.start(shell(STAYS, limits));
      const pid = await pidOf(lab, id);
      const scope = `crio-${id}.scope`;
      const known = runtime === "runc";
      if (known) assert.equal(await property(scope, "MemoryMax"), String(64 * MEBI));
      if (known) assert.equal(await property(scope, "CPUQuotaPerSecUSec"), "500ms");
      const linux = message(LinuxContainerResources, { memoryLimitInBytes: BigInt(96 * MEBI), cpuQuota: 20_000n });
      await lab.daemon.client.call("updateContainerResources", { containerId: id, linux });
      if (known) assert.equal(await property(scope, "MemoryMax"), String(96 * MEBI));
      const before = await kernelLimits(pid);
      assert.equal(before.memory, 96 * MEBI);
      assert.deepEqual([before.cpuQuota, before.cpuPeriod], [20_000, 80_000]);
      await run("systemctl", "daemon-reload");
      // runc 1.1 does not tell systemd of a swap limit of 0, so a reload of systemd takes that away.
      const { memoryAndSwap: _swap, ...kept } = before;
      const { memoryAndSwap: _after, ...after } = await kernelLimits(pid);
      assert.deepEqual(after, kept);
    });

    await t.step("an OOM kill ends a container and leaves no failed unit", async () => {
      // The reason is not asserted: conmon and we both look, and systemd can be faster in removing the cgroup.
      const script = "rm -f /dev/shm/*; exec head -c 60000000 /dev/zero > /dev/shm/file";
      const id = await pod.start(shell(script, { memoryLimitInBytes: BigInt(24 * MEBI) }));
      assert.equal((await exited(lab, id)).exitCode, 137);
      await until("its unit to go", async () => {
        return await property(`crio-${id}.scope`, "LoadState") === "not-found" || undefined;
      });
    });

    await t.step("swap counts where it is allowed, and is refused where it is not", async () => {
      await withSwap(async () => {
        // A killed program leaves its file, and the pod has one /dev/shm.
        const fill =
          "rm -f /dev/shm/*; head -c 50000000 /dev/zero > /dev/shm/swapped && echo survived; rm /dev/shm/swapped";
        const memory = { memoryLimitInBytes: BigInt(32 * MEBI) };
        const without = await exited(lab, await pod.start(shell(`exec sh -c '${fill}'`, memory)));
        assert.ok(!(await pod.log(without)).includes("survived"));
        const swap = { ...memory, memorySwapLimitInBytes: BigInt(96 * MEBI) };
        const id = await pod.start(shell(fill.replace("; rm", "; sleep 100000; rm"), swap));
        await until(
          "its memory",
          async () => (await pod.log(await statusOf(lab, id))).includes("survived") || undefined,
        );
        assert.ok(Number(await cgroupFile(await pidOf(lab, id), "memory", "memory.swap.current")) > 0);
        const { stats } = await lab.daemon.client.call("containerStats", { containerId: id });
        assert.ok(Number(stats?.swap?.swapUsageBytes?.value) > 0, "swap in stats");
        await lab.daemon.client.call("stopContainer", { containerId: id, timeout: 0n });
      });
    });

    const pressure = await Deno.stat("/proc/pressure/cpu").then(() => true, () => false);
    await t.step({
      name: `stats tell pressure${pressure ? "" : " (this kernel has none)"}`,
      ignore: !pressure,
      fn: async () => {
        const id = await pod.start(shell(STAYS, {}));
        const { stats } = await lab.daemon.client.call("containerStats", { containerId: id });
        assert.ok(stats?.cpu?.psi?.Some !== undefined && stats?.memory?.psi?.Full !== undefined);
      },
    });

    await t.step("a restart of the daemon's service leaves containers and monitors alone", async () => {
      const { spec } = lab.daemon;
      await lab.daemon.stop();
      const settings = Object.entries(spec.env ?? {}).map(([name, value]) => `--setenv=${name}=${value}`);
      const inherited = ["PATH", "DENO_DIR", "HOME"].map((name) => `--setenv=${name}=${Deno.env.get(name) ?? ""}`);
      // Harder than our own unit: everything in the service's cgroup is killed with it.
      await run(
        "systemd-run",
        `--unit=${SERVICE}`,
        "--collect",
        "--property=KillMode=control-group",
        "--property=Delegate=yes",
        `--working-directory=${spec.cwd ?? "/"}`,
        ...inherited,
        ...settings,
        ...spec.argv,
      );
      try {
        await answers(spec.socketPath);
        using client = new CriClient(spec.socketPath);
        const request = pod.request(shell(STAYS, {}));
        const { containerId } = await client.call("createContainer", request);
        await client.call("startContainer", { containerId });
        const monitor = await monitorOf(containerId);
        const start = await Deno.readTextFile(`/proc/${monitor}/stat`);
        await run("systemctl", "restart", SERVICE);
        await answers(spec.socketPath);
        assert.equal(startTime(await Deno.readTextFile(`/proc/${monitor}/stat`)), startTime(start));
        using again = new CriClient(spec.socketPath);
        const { status } = await again.call("containerStatus", { containerId });
        assert.equal(status?.state, 1, "running");
      } finally {
        await run("systemctl", "stop", SERVICE);
      }
      await lab.daemon.start();
    });

    await t.step("removal leaves nothing", async () => {
      await pod.remove();
      assert.deepEqual(await lab.leaks(), []);
      const left = await Array.fromAsync(Deno.readDir(`/sys/fs/cgroup${place}`), ({ name, isDirectory }) => {
        return isDirectory ? name : "";
      }).catch(() => []);
      assert.deepEqual(left.filter(Boolean), []);
      await run("systemctl", "stop", slice);
    });
  });
}

async function answers(socketPath: string): Promise<void> {
  await until("the service", async () => {
    try {
      (await Deno.connect({ transport: "unix", path: socketPath })).close();
      using client = new CriClient(socketPath);
      await client.call("version", {}, { timeoutMs: 20_000 });
      return true;
    } catch {
      return undefined;
    }
  });
}

/** Field 22 of proc(5)'s stat. */
function startTime(stat: string): string | undefined {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}
