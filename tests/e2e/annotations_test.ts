import assert from "node:assert/strict";
import { LinuxContainerResources, Mount, type PodSandboxConfig } from "../../src/cri/gen/api.ts";
import { CgroupParent } from "./harness/cgroup_parent.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, shell, statusOf, until, type Wish } from "./harness/tries.ts";

const KUBELET_PODS = "/var/lib/kubelet/pods";

function config(directory: string, runtime: string): string {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
  const allowed = ["umask", "shm-size", "link-logs", "devices"].map((name) => `"${name}.crio.io"`);
  allowed.push('"org.opencontainers.image.stopSignal"', '"run.oci."');
  const fast = ["cpu-load-balancing", "cpu-quota", "cpu-shared", "cpu-freq-governor"].map((name) =>
    `"${name}.crio.io"`
  );
  const handler = (name: string, more: string): string =>
    `[crio.runtime.runtimes.${name}]\nruntime_path = "/usr/bin/env"\nruntime_root = "${directory}/${runtime}"\n${more}\n`
      .replace("/usr/bin/env", name === "other" ? "/bin/false" : runtime);
  return `[crio.runtime]
min_injected_gomaxprocs = 3
default_ulimits = ["nofile=1000:2000", "core=-1", "memlock=65536"]
infra_ctr_cpuset = "0"
shared_cpuset = "0"
blockio_config_file = "${directory}/blockio.yaml"
${handler(runtime, `allowed_annotations = [${allowed.join(", ")}]`)}
${handler("defaults", `default_annotations = { "umask.crio.io" = "0027" }`)}
${handler("fast", `exec_cpu_affinity = "first"\nallowed_annotations = [${fast.join(", ")}]`)}
${handler("platform", `platform_runtime_paths = { "linux/${arch}" = "${directory}/wrapper" }`)}
[crio.runtime.workloads.management]
activation_annotation = "workload.test/management"
annotation_prefix = "resources.workload.test"
allowed_annotations = ["umask.crio.io"]
[crio.runtime.workloads.management.resources]
cpushares = 321
cpuset = "0"
`;
}

function annotated(
  annotations: Record<string, string>,
  change?: (config: PodSandboxConfig) => void,
): { change: (config: PodSandboxConfig) => void } {
  return {
    change: (request: PodSandboxConfig): void => {
      for (const [key, value] of Object.entries(annotations)) request.annotations.set(key, value);
      change?.(request);
    },
  };
}

/** The value of a file of the container's cgroup; on v1 below the controller that the file is named for. */
async function cgroupFile(lab: Lab, id: string, file: string): Promise<string> {
  const lines = (await Deno.readTextFile(`/proc/${await pidOf(lab, id)}/cgroup`)).split("\n");
  const [controller = ""] = file.split(".");
  const v1 = lines.find((line) => line.split(":")[1]?.split(",").includes(controller));
  const path = (v1 ?? lines.find((line) => line.startsWith("0::")) ?? "").split(":")[2];
  const root = v1 === undefined ? "/sys/fs/cgroup" : `/sys/fs/cgroup/${controller}`;
  return (await Deno.readTextFile(`${root}${path}/${file}`)).trim();
}

const V2 = await Deno.stat("/sys/fs/cgroup/cgroup.controllers").then(() => true, () => false);

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: annotations have their effect where they are allowed`, async (t) => {
    await using lab = await Lab.start({
      defaultRuntime: runtime,
      dropIn: (directory) => {
        const program = `/usr/bin/${runtime}`;
        const path = runtime === "runc" ? "/usr/sbin/runc" : program;
        Deno.writeTextFileSync(
          `${directory}/wrapper`,
          `#!/bin/sh\necho "$*" >> ${directory}/wrapped\nexec ${path} "$@"\n`,
          {
            mode: 0o755,
          },
        );
        const classes = 'Classes:\n  slow:\n  - Devices: ["/dev/loop[0]"]\n    ThrottleReadBps: 1Mi\n';
        Deno.writeTextFileSync(`${directory}/blockio.yaml`, classes);
        return config(directory, runtime);
      },
    });
    await lab.pull();

    await t.step("a mask for new files, in every spelling; none from a handler that allows none", async () => {
      const pod = await PodUnderTest.run(
        lab,
        "umask",
        annotated({ "umask.crio.io": "0077", "io.kubernetes.cri-o.umask": "0" }),
      );
      const id = await pod.start({});
      assert.equal((await procStatus(await pidOf(lab, id))).get("Umask"), "0077");
      const { text } = await pod.output({ command: shell("touch /f; stat -c %a /f") });
      assert.equal(text, "600");
      await pod.remove();
      const deaf = await PodUnderTest.run(lab, "deaf", {
        runtimeHandler: "defaults",
        ...annotated({ "umask.crio.io": "0077" }),
      });
      const other = await deaf.start({});
      // The handler's own default instead.
      assert.equal((await procStatus(await pidOf(lab, other))).get("Umask"), "0027");
      const { status } = await lab.daemon.client.call("podSandboxStatus", { podSandboxId: deaf.id });
      assert.equal(status?.annotations.get("umask.crio.io"), "0077", "the client's annotations stay as they are");
      await deaf.remove();
      const wrong = await PodUnderTest.run(lab, "wrong", annotated({ "umask.crio.io": "9" }));
      await assert.rejects(wrong.create({}), /umask\.crio\.io.*octal/);
      await wrong.remove();
    });

    await t.step("the size of /dev/shm", async () => {
      const pod = await PodUnderTest.run(lab, "shm", annotated({ "shm-size.crio.io": "3Mi" }));
      const id = await pod.start({});
      assert.match(await execText(lab, id, "busybox", "df", "-k", "/dev/shm"), /\s3072\s/);
      await pod.remove();
      await assert.rejects(PodUnderTest.run(lab, "shm-wrong", annotated({ "shm-size.crio.io": "none" })), /128Mi/);
    });

    await t.step("a volume that shows the pod's logs", async () => {
      await using cleanup = new AsyncDisposableStack();
      const { config: plain, volume } = await withVolume(lab, { name: "logs", cleanup });
      const pod = await PodUnderTest.run(lab, "logs", {
        change: (request): void => {
          Object.assign(request, plain);
          request.annotations.set("link-logs.crio.io", "logs");
        },
      });
      cleanup.defer(() => pod.remove());
      const id = await pod.start({ command: shell("echo told; trap 'exit 0' TERM; sleep 1000 & wait") });
      const reader = await pod.start({
        change: (request): void => {
          request.mounts.push(message(Mount, { containerPath: "/logs", hostPath: volume }));
        },
      });
      const seen = await until("the line", async () => {
        const text = await execText(lab, reader, "cat", `/logs/${id}.log`);
        return text.includes("told") ? text : undefined;
      });
      assert.match(seen, /stdout F told/);
      assert.match(await execText(lab, reader, "touch", "/logs/x"), /Read-only file system/);
      await pod.remove();
      assert.deepEqual(await Array.fromAsync(Deno.readDir(volume)), [], "the volume stays, the kubelet's");
    });

    await t.step("the stop signal", async () => {
      const pod = await PodUnderTest.run(
        lab,
        "signal",
        annotated({ "org.opencontainers.image.stopSignal": "SIGUSR1" }),
      );
      const script = "trap 'exit 7' USR1; echo ready; while true; do sleep 0.05; done";
      const id = await pod.start({ command: shell(script) });
      const { logPath } = await statusOf(lab, id);
      await until("its trap", async () => (await pod.log({ logPath })).includes("ready") || undefined);
      await lab.daemon.client.call("stopContainer", { containerId: id, timeout: 10n });
      assert.equal((await statusOf(lab, id)).exitCode, 7);
      await pod.remove();
    });

    await t.step("limits of processes: those of the configuration, the others inherited", async () => {
      const pod = await PodUnderTest.run(lab, "ulimits");
      const id = await pod.start({});
      const limits = await Deno.readTextFile(`/proc/${await pidOf(lab, id)}/limits`);
      assert.match(limits, /^Max open files +1000 +2000 /m);
      assert.match(limits, /^Max core file size +unlimited +unlimited /m);
      assert.match(limits, /^Max locked memory +65536 +65536 /m);
      const line = (text: string): string => /^Max pending signals.*$/m.exec(text)?.[0] ?? "";
      assert.equal(line(limits), line(await Deno.readTextFile(`/proc/${lab.daemon.pid}/limits`)));
      assert.equal(await execText(lab, id, ...shell("ulimit -c")), "unlimited", "exec has them, too");
      await pod.remove();
    });

    await t.step("GOMAXPROCS for burstable pods without a CPU limit", async () => {
      await using cgroup = await CgroupParent.create(`crio-burstable-${Deno.pid}`);
      const inBurstable = (request: PodSandboxConfig): void => {
        if (request.linux !== undefined) request.linux.cgroupParent = cgroup.path;
      };
      const sized = (fields: Partial<LinuxContainerResources>): Wish => ({
        change: (request): void => {
          request.linux = { securityContext: undefined, resources: message(LinuxContainerResources, fields) };
        },
      });
      const pod = await PodUnderTest.run(lab, "procs", { change: inBurstable });
      const procs = (id: string): Promise<string> => execText(lab, id, ...shell("echo $GOMAXPROCS"));
      assert.equal(await procs(await pod.start(sized({ cpuShares: 5000n }))), "5");
      assert.equal(await procs(await pod.start(sized({ cpuShares: 2n }))), "3");
      assert.equal(
        await procs(await pod.start(sized({ cpuShares: 5000n, cpuQuota: 100_000n, cpuPeriod: 100_000n }))),
        "",
      );
      await pod.remove();
      const skipped = await PodUnderTest.run(
        lab,
        "skipped",
        annotated({ "skip-gomaxprocs.crio.io": "true" }, inBurstable),
      );
      assert.equal(await procs(await skipped.start(sized({ cpuShares: 5000n }))), "");
      await skipped.remove();
    });

    await t.step("a workload's resources, and a container's own", async () => {
      const pod = await PodUnderTest.run(
        lab,
        "workload",
        annotated({
          "workload.test/management": "",
          "resources.workload.test/own": '{"cpushares": 654, "cpulimit": 250}',
          "umask.crio.io": "0007",
        }),
      );
      const usual = await pod.start({ name: "usual" });
      const own = await pod.start({ name: "own" });
      assert.equal((await procStatus(await pidOf(lab, usual))).get("Umask"), "0007");
      assert.equal(await cgroupFile(lab, usual, "cpuset.cpus"), "0");
      if (!V2) {
        assert.equal(await cgroupFile(lab, usual, "cpu.shares"), "321");
        assert.equal(await cgroupFile(lab, own, "cpu.shares"), "654");
        assert.equal(await cgroupFile(lab, own, "cpu.cfs_quota_us"), "25000");
      }
      const { status } = await lab.daemon.client.call("containerStatus", { containerId: own });
      assert.equal(status?.resources?.linux?.cpuShares, 654n);
      const bad = await PodUnderTest.run(
        lab,
        "workload-bad",
        annotated({ "workload.test/management": "", "resources.workload.test/c0": "x" }),
      );
      await assert.rejects(bad.create({}), /resources\.workload\.test\/c0: is not JSON/);
      await bad.remove();
      await pod.remove();
    });

    await t.step("guaranteed containers: no quota, no load balancing, shared CPUs", async () => {
      const pod = await PodUnderTest.run(lab, "fast", {
        runtimeHandler: "fast",
        ...annotated({
          "cpu-quota.crio.io/own": "disable",
          "cpu-load-balancing.crio.io/own": "disable",
          "cpu-shared.crio.io/shared": "enable",
          "cpu-freq-governor.crio.io/governed": "no_such",
        }),
      });
      const limits = message(LinuxContainerResources, {
        cpuShares: 1024n,
        cpuQuota: 100_000n,
        cpuPeriod: 100_000n,
        cpusetCpus: "1",
      });
      const whole = (name: string): Wish => ({
        name,
        change: (request): void => void (request.linux = { securityContext: undefined, resources: limits }),
      });
      const own = await pod.start(whole("own"));
      const shared = await pod.start(whole("shared"));
      assert.equal(await cgroupFile(lab, own, "cpuset.cpus"), "1");
      assert.equal(await cgroupFile(lab, shared, "cpuset.cpus"), "0-1");
      assert.equal(
        await execText(lab, shared, ...shell("echo $OPENSHIFT_ISOLATED_CPUS $OPENSHIFT_SHARED_CPUS")),
        "1 0",
      );
      if (!V2) {
        assert.equal(await cgroupFile(lab, own, "cpu.cfs_quota_us"), "-1");
        assert.equal(await cgroupFile(lab, own, "cpuset.sched_load_balance"), "0");
        assert.equal(await cgroupFile(lab, shared, "cpu.cfs_quota_us"), "200000");
        assert.equal(await cgroupFile(lab, shared, "cpuset.sched_load_balance"), "1");
      }
      // The kubelet says again what it knows of.
      const change = { containerId: shared, linux: message(LinuxContainerResources, { cpusetCpus: "1" }) };
      await lab.daemon.client.call("updateContainerResources", change);
      assert.equal(await cgroupFile(lab, shared, "cpuset.cpus"), "0-1");
      await assert.rejects(pod.start(whole("governed")), /no frequency governor no_such/);
      await pod.remove();
    });

    await t.step("a class of block I/O", async () => {
      const key = "blockio.resources.beta.kubernetes.io";
      const classes = { [`${key}/pod`]: "none", [`${key}/container.slow`]: "slow" };
      const pod = await PodUnderTest.run(lab, "blockio", annotated(classes));
      const id = await pod.start({ name: "slow" });
      const hasDevice = await Deno.stat("/dev/loop0").then(({ isBlockDevice }) => isBlockDevice, () => false);
      if (!V2 && hasDevice) assert.equal(await cgroupFile(lab, id, "blkio.throttle.read_bps_device"), "7:0 1048576");
      await assert.rejects(pod.create({ name: "other" }), /block I\/O class "none" is not in .*slow/);
      await pod.remove();
    });

    await t.step("another program for images of a platform, also after a restart", async () => {
      const pod = await PodUnderTest.run(lab, "platform", { runtimeHandler: "platform" });
      const id = await pod.start({ command: SLEEPER });
      assert.match(await Deno.readTextFile(`${lab.directory}/wrapped`), new RegExp(`start ${id}`));
      await lab.daemon.stop("SIGKILL");
      await lab.daemon.start();
      assert.equal(await execText(lab, id, "echo", "here"), "here");
      assert.match(await Deno.readTextFile(`${lab.directory}/wrapped`), /exec /);
      await pod.remove();
    });

    await t.step("the runtime's configuration holds the pod's annotations and the daemon's notes", async () => {
      const pod = await PodUnderTest.run(lab, "notes", annotated({ "example.com/pod": "1", "bundle": "filtered" }));
      const id = await pod.start({ change: (request): void => void request.annotations.set("example.com/own", "2") });
      const { info } = await lab.daemon.client.call("containerStatus", { containerId: id, verbose: true });
      const { runtimeSpec } = JSON.parse(info.get("info") ?? "{}") as {
        runtimeSpec: { annotations: Record<string, string> };
      };
      const { annotations } = runtimeSpec;
      assert.equal(annotations["example.com/pod"], "1");
      assert.equal(annotations["example.com/own"], "2");
      assert.equal(annotations["bundle"], undefined);
      assert.equal(annotations["io.kubernetes.cri-o.SandboxID"], pod.id);
      assert.match(annotations["io.kubernetes.cri-o.IP.0"] ?? "", /^10\.238\.77\./);
      await pod.remove();
    });

    await t.step("nothing is left", async () => assert.deepEqual(await lab.leaks(), []));
  });
}

/** A pod's request whose empty volume of this name exists, as the kubelet makes it before it asks for the pod. */
async function withVolume(
  lab: Lab,
  { name, cleanup }: { name: string; cleanup: AsyncDisposableStack },
): Promise<{ config: PodSandboxConfig; volume: string }> {
  const config = PodUnderTest.configure(lab, name);
  const pod = `${KUBELET_PODS}/${config.metadata?.uid}`;
  for (const directory of ["/var/lib/kubelet", KUBELET_PODS, pod]) {
    const isNew = await Deno.mkdir(directory).then(() => true, () => false);
    if (isNew) cleanup.defer(() => Deno.remove(directory, { recursive: directory === pod }));
  }
  const volume = `${pod}/volumes/kubernetes.io~empty-dir/${name}`;
  await Deno.mkdir(volume, { recursive: true });
  return { config, volume };
}
