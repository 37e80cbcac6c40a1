import assert from "node:assert/strict";
import { HugepageLimit, LinuxContainerResources } from "../../src/cri/gen/api.ts";
import { codeOf, message } from "./harness/cri_client.ts";
import { cgroupManager } from "./harness/crio.ts";
import { cgroupFile, cgroupOf, hasShares, type KernelLimits, kernelLimits } from "./harness/kernel_limits.ts";
import { Lab } from "./harness/lab.ts";
import { execText, exited, pidOf, PodUnderTest, statusOf, until, type Wish } from "./harness/tries.ts";

const MEBI = 1024n * 1024n;
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;

type Resources = Partial<LinuxContainerResources>;

function limited(fields: Resources, command?: readonly string[]): Wish {
  return {
    ...(command === undefined ? {} : { command }),
    change: (config) => {
      config.linux = { securityContext: undefined, resources: message(LinuxContainerResources, fields) };
    },
  };
}

async function failureOf(call: Promise<unknown>): Promise<Error> {
  const error = await call.then(() => undefined, (thrown: Error) => thrown);
  assert.ok(error !== undefined, "the call succeeded");
  return error;
}

/** The parts of the kernel's limits that a test speaks of; shares as the runtime converts them. */
function assertLimits(found: KernelLimits, { shares, ...expected }: Partial<KernelLimits> & { shares?: number }): void {
  const part = Object.fromEntries(Object.keys(expected).map((name) => [name, found[name as keyof KernelLimits]]));
  assert.deepEqual(part, expected);
  if (shares !== undefined) assert.ok(hasShares(found, shares), `${shares} shares are not ${JSON.stringify(found)}`);
}

const LIMITS = {
  cpuShares: 512n,
  // systemd rounds a quota up to whole percents.
  cpuQuota: 40_000n,
  cpuPeriod: 80_000n,
  memoryLimitInBytes: 64n * MEBI,
  memorySwapLimitInBytes: 96n * MEBI,
  oomScoreAdj: 555n,
  // The kubelet sends zeros for every size that the kernel knows.
  hugepageLimits: [message(HugepageLimit, { pageSize: "2MB", limit: 0n })],
};

const CPUSET = { cpusetCpus: "0", cpusetMems: "0" };

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: the kernel has the limits of containers, and those of their updates`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime, environment: { CONTAINER_PIDS_LIMIT: "77" } });
    await lab.pull();
    const { client } = lab.daemon;
    const pod = await PodUnderTest.run(lab, "limits");
    const first = await pidOf(lab, await pod.start({}));
    const hasCpuset = await cgroupOf(first, "cpuset") !== undefined;
    const isV1 = await cgroupFile(first, "memory", "memory.limit_in_bytes") !== undefined;
    const cpuset = hasCpuset ? CPUSET : {};
    const kernelCpuset = hasCpuset ? { cpus: "0", mems: "0" } : {};
    const update = async (containerId: string, fields: Resources): Promise<void> => {
      await client.call("updateContainerResources", { containerId, linux: message(LinuxContainerResources, fields) });
    };
    const reported = async (id: string): Promise<LinuxContainerResources> => {
      const { resources } = await statusOf(lab, id);
      assert.ok(resources?.linux !== undefined);
      return resources.linux;
    };

    await t.step("each field of a new container's resources", async () => {
      const pid = await pidOf(lab, await pod.start(limited({ ...LIMITS, ...cpuset })));
      assertLimits(await kernelLimits(pid), {
        shares: 512,
        cpuQuota: 40_000,
        cpuPeriod: 80_000,
        memory: Number(64n * MEBI),
        memoryAndSwap: Number(96n * MEBI),
        ...kernelCpuset,
        pids: 77,
      });
      assert.equal((await Deno.readTextFile(`/proc/${pid}/oom_score_adj`)).trim(), "555");
    });

    await t.step("a memory limit leaves no swap unless it is asked for", async () => {
      const id = await pod.start(limited({ memoryLimitInBytes: 64n * MEBI }));
      assertLimits(await kernelLimits(await pidOf(lab, id)), { memoryAndSwap: Number(64n * MEBI) });
      assert.equal((await reported(id)).memorySwapLimitInBytes, 64n * MEBI);
    });

    await t.step("without resources nothing but the number of processes is limited", async () => {
      const limits = await kernelLimits(await pidOf(lab, await pod.start({})));
      assertLimits(limits, { memory: undefined, memoryAndSwap: undefined, cpuQuota: undefined, pids: 77 });
    });

    for (const state of ["running", "created"] as const) {
      await t.step(`each field of an update of a container that is ${state}`, async () => {
        const wish = limited(LIMITS);
        const id = state === "running" ? await pod.start(wish) : await pod.create(wish);
        const pid = await pidOf(lab, id);
        await update(id, {
          cpuShares: 1024n,
          cpuQuota: 30_000n,
          cpuPeriod: 60_000n,
          memoryLimitInBytes: 128n * MEBI,
          memorySwapLimitInBytes: 160n * MEBI,
          ...cpuset,
        });
        const expected = {
          shares: 1024,
          cpuQuota: 30_000,
          cpuPeriod: 60_000,
          memory: Number(128n * MEBI),
          memoryAndSwap: Number(160n * MEBI),
          ...kernelCpuset,
          pids: 77,
        };
        assertLimits(await kernelLimits(pid), expected);
        const resources = await reported(id);
        assert.deepEqual(
          [resources.cpuShares, resources.cpuQuota, resources.cpuPeriod, resources.oomScoreAdj],
          [1024n, 30_000n, 60_000n, 555n],
        );
        assert.equal(resources.memoryLimitInBytes, 128n * MEBI);
        assert.equal(resources.cpusetCpus, hasCpuset ? "0" : "");
        // Limits that are not named stay: memory keeps its swap, a quota its period.
        await update(id, { memoryLimitInBytes: 32n * MEBI, cpuQuota: 24_000n });
        const changed = {
          ...expected,
          cpuQuota: 24_000,
          memory: Number(32n * MEBI),
          memoryAndSwap: Number(64n * MEBI),
        };
        assertLimits(await kernelLimits(pid), changed);
        await update(id, { cpuQuota: -1n });
        assertLimits(await kernelLimits(pid), { cpuQuota: undefined, shares: 1024 });
        if (state === "created") await client.call("startContainer", { containerId: id });
        assertLimits(await kernelLimits(pid), { memory: Number(32n * MEBI) });
      });
    }

    await t.step("less memory than is used is refused, and changes nothing", async () => {
      // Files in memory count as the memory of who writes them.
      const hungry = "head -c 20971520 /dev/zero > /dev/shm/file; touch /done; trap 'exit 0' TERM; sleep 1000 & wait";
      const id = await pod.start(limited({ memoryLimitInBytes: 128n * MEBI }, ["/bin/sh", "-c", hungry]));
      await until("its memory", async () => await execText(lab, id, "ls", "/done") === "/done" || undefined);
      const pid = await pidOf(lab, id);
      const before = await kernelLimits(pid);
      const error = await failureOf(update(id, { cpuShares: 2048n, memoryLimitInBytes: 16n * MEBI }));
      assert.equal(codeOf(error), FAILED_PRECONDITION);
      assert.match(error.message, /uses \d+ bytes of memory, more than the limit of 16777216/);
      assert.deepEqual(await kernelLimits(pid), before);
      assert.equal((await reported(id)).memoryLimitInBytes, 128n * MEBI);
      const negative = await failureOf(update(id, { memoryLimitInBytes: -1n }));
      assert.equal(codeOf(negative), INVALID_ARGUMENT);
      const swap = await failureOf(update(id, { memorySwapLimitInBytes: 64n * MEBI }));
      assert.equal(codeOf(swap), INVALID_ARGUMENT);
    });

    await t.step(
      "an end for want of memory has its reason, also when another process than the first was killed",
      async () => {
        const few = { memoryLimitInBytes: 24n * MEBI };
        const fill = "head -c 60000000 /dev/zero > /dev/shm/fill";
        for (
          const [script, exitCode] of [[`rm -f /dev/shm/*; exec ${fill}`, 137], [
            `rm -f /dev/shm/*; ${fill}; exit 9`,
            9,
          ]] as const
        ) {
          const status = await exited(lab, await pod.start(limited(few, ["/bin/sh", "-c", script])));
          // systemd may remove the cgroup before monitor and daemon have looked.
          if (cgroupManager() === "cgroupfs") assert.equal(status.reason, "OOMKilled");
          assert.ok([exitCode, 137].includes(status.exitCode), `exit code ${status.exitCode}`);
        }
      },
    );

    await t.step("an update that the kernel refuses half-way changes nothing", async () => {
      const id = await pod.start(limited(LIMITS));
      const pid = await pidOf(lab, id);
      const before = await kernelLimits(pid);
      const impossible = {
        cpuShares: 2048n,
        cpuQuota: 10_000n,
        memoryLimitInBytes: 128n * MEBI,
        ...(hasCpuset ? { cpusetCpus: "4095" } : { unified: new Map([["memory.none", "1"]]) }),
      };
      await failureOf(update(id, impossible));
      assert.deepEqual(await kernelLimits(pid), before);
      assert.equal((await reported(id)).cpuShares, 512n);
      await update(id, { cpuShares: 2048n });
      assertLimits(await kernelLimits(pid), { shares: 2048, cpuQuota: 40_000 });
    });

    await t.step("what cannot be kept, or would not start, is refused by name", async () => {
      const tiny = await failureOf(pod.create(limited({ memoryLimitInBytes: 4096n })));
      assert.equal(codeOf(tiny), INVALID_ARGUMENT);
      assert.match(tiny.message, /memory limit of 4096 bytes is too low.*container_min_memory/);
      const swap = limited({ memoryLimitInBytes: 64n * MEBI, memorySwapLimitInBytes: 32n * MEBI });
      assert.equal(codeOf(await failureOf(pod.create(swap))), INVALID_ARGUMENT);
      const id = await pod.start({});
      assert.equal(codeOf(await failureOf(update(id, { memoryLimitInBytes: 4096n }))), INVALID_ARGUMENT);
      const unified: Resources = { unified: new Map([["memory.high", "1000000"]]) };
      const impossible: Array<readonly [Resources, RegExp]> = [];
      if (isV1) impossible.push([unified, /memory\.high.*cgroup v2/]);
      if (!hasCpuset) impossible.push([CPUSET, /cpuset.*controller/]);
      for (const [fields, text] of impossible) {
        for (const call of [update(id, fields), pod.create(limited(fields))]) {
          const error = await failureOf(call);
          assert.equal(codeOf(error), INVALID_ARGUMENT);
          assert.match(error.message, text);
        }
      }
    });

    const unifiedFiles = async (): Promise<void> => {
      const fields = { unified: new Map([["memory.high", "30000000"], ["memory.oom.group", "1"]]) };
      const id = await pod.start(limited({ memoryLimitInBytes: 64n * MEBI, ...fields }));
      const pid = await pidOf(lab, id);
      const file = (name: string): Promise<string | undefined> => cgroupFile(pid, "memory", name);
      assert.deepEqual([await file("memory.high"), await file("memory.oom.group")], ["29999104", "1"]);
      await update(id, { unified: new Map([["memory.high", "20000000"], ["pids.max", "55"]]) });
      assert.deepEqual([await file("memory.high"), (await kernelLimits(pid)).pids], ["19996672", 55]);
      const { unified } = await reported(id);
      assert.deepEqual(
        unified,
        new Map([["memory.high", "20000000"], ["memory.oom.group", "1"], ["pids.max", "55"]]),
      );
    };
    await t.step({ name: "files of cgroup v2 by name", ignore: isV1, fn: unifiedFiles });

    await t.step("an update survives the daemon", async () => {
      const id = await pod.start({});
      await update(id, { cpuShares: 333n });
      await lab.daemon.stop("SIGKILL");
      await lab.daemon.start();
      const { status } = await lab.daemon.client.call("containerStatus", { containerId: id });
      assert.equal(status?.resources?.linux?.cpuShares, 333n);
    });

    await t.step("containers that have ended, or are not there, are refused; pods are told", async () => {
      const { client } = lab.daemon;
      const again = async (containerId: string): Promise<number | undefined> => {
        const linux = message(LinuxContainerResources, { cpuShares: 10n });
        return codeOf(await failureOf(client.call("updateContainerResources", { containerId, linux })));
      };
      const id = await pod.start({});
      await client.call("stopContainer", { containerId: id, timeout: 0n });
      assert.equal(await again(id), FAILED_PRECONDITION);
      assert.equal(await again("0123456789ab"), NOT_FOUND);
      const resources = message(LinuxContainerResources, { cpuShares: 10n });
      await client.call("updatePodSandboxResources", { podSandboxId: pod.id, resources, overhead: undefined });
      const absent = client.call("updatePodSandboxResources", { podSandboxId: "0123456789ab", resources });
      assert.equal(codeOf(await failureOf(absent)), NOT_FOUND);
      const network = { networkConfig: { podCidr: "10.1.0.0/24" } };
      await client.call("updateRuntimeConfig", { runtimeConfig: network });
    });

    await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
    assert.deepEqual(await lab.leaks(), []);
  });
}
