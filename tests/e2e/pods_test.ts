import assert from "node:assert/strict";
import {
  Capability,
  type ContainerConfig,
  ContainerState,
  Device,
  DNSConfig,
  ImageSpec,
  LinuxContainerResources,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  Mount,
  MountPropagation,
  NamespaceMode,
  NamespaceOption,
  PortMapping,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import {
  execText,
  exited,
  pidOf,
  PodUnderTest,
  procStatus,
  shell,
  statusOf,
  until,
  type Wish,
} from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

/** A wish with these security settings. */
function secured(fields: Security, command: readonly string[]): Wish {
  return {
    command,
    change: (config) => {
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, fields) };
    },
  };
}

function limited(fields: Partial<LinuxContainerResources>, command: readonly string[]): Wish {
  return {
    command,
    change: (config) => {
      config.linux = { securityContext: undefined, resources: message(LinuxContainerResources, fields) };
    },
  };
}

function namespaceOf(pid: number | "self", kind: string): Promise<string> {
  return Deno.readLink(`/proc/${pid}/ns/${kind}`);
}

async function fromHost(port: number): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const buffer = new Uint8Array(64);
  return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0));
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: pods and containers are what their requests ask for`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const { client } = lab.daemon;
    const step = async (name: string, work: () => Promise<void>): Promise<void> => {
      await t.step(name, work);
    };

    await step(
      "containers share the pod's network, IPC and UTS namespaces and have their own of the others",
      async () => {
        const pod = await PodUnderTest.run(lab, "shared");
        const [one, two] = [await pidOf(lab, await pod.start({})), await pidOf(lab, await pod.start({}))];
        for (const kind of ["net", "ipc", "uts"]) {
          assert.equal(await namespaceOf(one, kind), await namespaceOf(two, kind), kind);
          assert.notEqual(await namespaceOf(one, kind), await namespaceOf("self", kind), kind);
        }
        for (const kind of ["pid", "mnt"]) {
          assert.notEqual(await namespaceOf(one, kind), await namespaceOf(two, kind), kind);
          assert.notEqual(await namespaceOf(one, kind), await namespaceOf("self", kind), kind);
        }
        const cgroups = (await Deno.readTextFile(`/proc/${one}/cgroup`)).split("\n");
        assert.ok(cgroups.some((line) => line.includes(`${lab.cgroup.path}/crio-`)), cgroups.join("\n"));
        await pod.remove();
      },
    );

    await step("a pod that shares its PID namespace has an infra process, which ends with it", async () => {
      const pod = await PodUnderTest.run(lab, "pids", {
        change: (config) => {
          if (config.linux?.securityContext === undefined) return;
          config.linux.securityContext.namespaceOptions = message(NamespaceOption, { pid: NamespaceMode.POD });
        },
      });
      const options = message(NamespaceOption, { pid: NamespaceMode.POD });
      const first = await pod.start(
        secured({ namespaceOptions: options }, shell("trap 'exit 0' TERM; sleep 77777 & wait")),
      );
      const second = await pod.start(secured({ namespaceOptions: options }, SLEEPER));
      const seen = await execText(lab, second, "ps");
      assert.match(seen, /1 .*\/pause/);
      assert.match(seen, /sleep 77777/);
      const pid = await pidOf(lab, first);
      // The kubelet stops containers one by one: their children must go too.
      await execText(lab, first, ...shell("sleep 66666 >/dev/null 2>&1 &"));
      await client.call("stopContainer", { containerId: first, timeout: 0n });
      assert.ok(!(await execText(lab, second, "ps")).includes("66666"));
      await pod.remove();
      await assert.rejects(Deno.stat(`/proc/${pid}`));
      assert.deepEqual(await lab.leaks(), []);
    });

    await step("a pod on the host's network has the host's name and addresses", async () => {
      const pod = await PodUnderTest.run(lab, "host", {
        change: (config) => {
          config.hostname = "";
          if (config.linux?.securityContext === undefined) return;
          config.linux.securityContext.namespaceOptions = message(NamespaceOption, {
            network: NamespaceMode.NODE,
            pid: NamespaceMode.CONTAINER,
          });
        },
      });
      const options = message(NamespaceOption, { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER });
      const id = await pod.start(secured({ namespaceOptions: options }, SLEEPER));
      assert.equal(await namespaceOf(await pidOf(lab, id), "net"), await namespaceOf("self", "net"));
      assert.equal(await execText(lab, id, "hostname"), Deno.hostname());
      assert.match(await execText(lab, id, "cat", "/etc/hosts"), /localhost/);
      const { status } = await client.call("podSandboxStatus", { podSandboxId: pod.id });
      assert.equal(status?.network?.ip, "");
      await pod.remove();
    });

    await step("DNS, host name, hosts file and sysctls are the pod's", async () => {
      const pod = await PodUnderTest.run(lab, "named", {
        change: (config) => {
          config.dnsConfig = message(DNSConfig, {
            servers: ["10.0.0.10"],
            searches: ["a.svc", "svc"],
            options: ["ndots:5"],
          });
          config.hostname = "own-name";
          config.linux?.sysctls.set("net.ipv4.ip_unprivileged_port_start", "80");
          config.linux?.sysctls.set("kernel.shm_rmid_forced", "1");
        },
      });
      const script = "cat /etc/resolv.conf /etc/hosts; hostname; cat /etc/hostname " +
        "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; echo $HOSTNAME";
      const { text } = await pod.output({ command: shell(script) });
      assert.match(text, /^search a\.svc svc\nnameserver 10\.0\.0\.10\noptions ndots:5$/m);
      assert.match(text, /^10\.238\.77\.\d+\sown-name$/m);
      assert.match(text, /own-name\nown-name\n80\n1\nown-name$/);
      await pod.remove();
    });

    await step("user, groups, capabilities, no_new_privs and oom score reach the process", async () => {
      const pod = await PodUnderTest.run(lab, "users");
      const id = await pod.start(secured({
        runAsUser: { value: 1234n },
        runAsGroup: { value: 2345n },
        supplementalGroups: [3456n],
        noNewPrivs: true,
        readonlyRootfs: true,
        capabilities: message(Capability, { dropCapabilities: ["ALL"], addCapabilities: ["NET_BIND_SERVICE"] }),
      }, SLEEPER));
      const status = await procStatus(await pidOf(lab, id));
      assert.equal(status.get("Uid"), "1234\t1234\t1234\t1234");
      assert.equal(status.get("Gid"), "2345\t2345\t2345\t2345");
      assert.deepEqual(status.get("Groups")?.split(" ").filter((group) => group !== "2345"), ["3456"]);
      assert.equal(status.get("NoNewPrivs"), "1");
      assert.equal(BigInt(`0x${status.get("CapBnd")}`), 1n << 10n);
      assert.match(await execText(lab, id, "touch", "/file"), /Read-only file system/);
      assert.equal(await execText(lab, id, "id", "-u"), "1234");

      const root = await procStatus(await pidOf(lab, await pod.start({})));
      assert.equal(root.get("Uid"), "0\t0\t0\t0");
      // CRI-O's default set: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service.
      assert.equal(BigInt(`0x${root.get("CapEff")}`), 0x5fbn);

      const { text } = await pod.output(secured({ runAsUsername: "nobody" }, shell("id -u; id -g")));
      assert.equal(text, "65534\n65534");
      await pod.remove();
    });

    await step("an image's user, working directory, volumes and stop signal are used", async () => {
      const image = lab.image.replace("busybox", "nobody");
      await client.call("pullImage", { image: message(ImageSpec, { image }) });
      const pod = await PodUnderTest.run(lab, "image");
      const command = shell("trap 'exit 9' INT; id -u; pwd; ls -d /data; while true; do sleep 0.05; done");
      const id = await pod.start({ image, command });
      const status = await statusOf(lab, id);
      await until("its output", async () => (await pod.log(status)).includes("/data") || undefined);
      assert.equal(await pod.log(status), "65534\n/work/here\n/data");
      await client.call("stopContainer", { containerId: id, timeout: 10n });
      assert.equal((await statusOf(lab, id)).exitCode, 9);
      await pod.remove();
      await client.call("removeImage", { image: message(ImageSpec, { image }) });
    });

    await step("volumes: read-only, read-write, propagation, a missing source, /dev/shm of the pod", async () => {
      const pod = await PodUnderTest.run(lab, "volumes");
      const source = `${lab.directory}/volumes`;
      await Deno.mkdir(`${source}/a`, { recursive: true });
      await Deno.writeTextFile(`${source}/a/file`, "text");
      const volume = (fields: Partial<Mount>): Mount => message(Mount, fields);
      const id = await pod.start({
        change: (config) => {
          config.mounts = [
            volume({ containerPath: "/ro", hostPath: `${source}/a`, readonly: true }),
            volume({ containerPath: "/rw", hostPath: `${source}/a` }),
            volume({ containerPath: "/deep/new", hostPath: `${source}/made/on/demand` }),
            volume({ containerPath: "/etc/file", hostPath: `${source}/a/file` }),
          ];
        },
      });
      assert.equal(await execText(lab, id, "cat", "/ro/file"), "text");
      assert.match(await execText(lab, id, "touch", "/ro/x"), /Read-only file system/);
      assert.equal(await execText(lab, id, ...shell("touch /rw/x /deep/new/y; cat /etc/file")), "text");
      assert.ok((await Deno.stat(`${source}/a/x`)).isFile);
      assert.ok((await Deno.stat(`${source}/made/on/demand/y`)).isFile);
      const mounts = (await statusOf(lab, id)).mounts;
      assert.deepEqual(mounts.map(({ containerPath }) => containerPath), ["/ro", "/rw", "/deep/new", "/etc/file"]);
      await execText(lab, id, ...shell("echo shared > /dev/shm/word"));
      const other = await pod.start({});
      assert.equal(await execText(lab, other, "cat", "/dev/shm/word"), "shared");
      await pod.remove();
    });

    await step("a volume that is shared sees mounts that are made later, both ways", async () => {
      const directory = `${lab.directory}/shared`;
      await Deno.mkdir(`${directory}/sub`, { recursive: true });
      await run("mount", "--bind", directory, directory);
      await run("mount", "--make-rshared", directory);
      try {
        // A container that is privileged needs a pod that is.
        const pod = await PodUnderTest.run(lab, "propagation", {
          change: (config) => {
            const security = config.linux?.securityContext;
            if (config.linux === undefined || security === undefined) return;
            config.linux.securityContext = message(LinuxSandboxSecurityContext, { ...security, privileged: true });
          },
        });
        const mount = (propagation: MountPropagation) => (config: ContainerConfig): void => {
          config.mounts = [message(Mount, { containerPath: "/v", hostPath: directory, propagation })];
          if (propagation !== MountPropagation.PROPAGATION_BIDIRECTIONAL) return;
          const securityContext = message(LinuxContainerSecurityContext, { privileged: true });
          config.linux = { resources: undefined, securityContext };
        };
        const slave = await pod.start({ change: mount(MountPropagation.PROPAGATION_HOST_TO_CONTAINER) });
        const apart = await pod.start({ change: mount(MountPropagation.PROPAGATION_PRIVATE) });
        await run("mount", "-t", "tmpfs", "tmpfs", `${directory}/sub`);
        await Deno.writeTextFile(`${directory}/sub/late`, "late");
        assert.equal(await execText(lab, slave, "cat", "/v/sub/late"), "late");
        assert.match(await execText(lab, apart, "cat", "/v/sub/late"), /No such file/);
        await run("umount", `${directory}/sub`);
        const both = await pod.start({
          command: shell(
            "trap 'exit 0' TERM; mount -t tmpfs tmpfs /v/sub; echo inner > /v/sub/word; sleep 1000 & wait",
          ),
          change: mount(MountPropagation.PROPAGATION_BIDIRECTIONAL),
        });
        const word = (): Promise<string | undefined> =>
          Deno.readTextFile(`${directory}/sub/word`).catch(() => undefined);
        assert.equal(await until("the container's mount", word), "inner\n");
        await client.call("stopContainer", { containerId: both, timeout: 0n });
        await run("umount", `${directory}/sub`);
        await pod.remove();
      } finally {
        await run("umount", "-l", directory);
      }
    });

    await step("devices: one that is asked for, all for a privileged container, none otherwise", async () => {
      const pod = await PodUnderTest.run(lab, "devices", {
        change: (config) => {
          const security = config.linux?.securityContext;
          if (config.linux !== undefined && security !== undefined) {
            config.linux.securityContext = message(LinuxSandboxSecurityContext, { ...security, privileged: true });
          }
        },
      });
      const one = await pod.start({
        change: (config) => {
          config.devices = [
            message(Device, { hostPath: "/dev/loop-control", containerPath: "/dev/mine", permissions: "r" }),
          ];
        },
      });
      const number = (path: string): string[] => ["stat", "-c", "%t:%T", path];
      assert.equal(await execText(lab, one, ...number("/dev/mine")), "a:ed");
      assert.match(await execText(lab, one, ...shell("ls /dev/loop-control")), /No such file/);
      const privileged = await pod.start(secured({ privileged: true }, SLEEPER));
      assert.equal(await execText(lab, privileged, ...number("/dev/loop-control")), "a:ed");
      const all = (await procStatus(await pidOf(lab, privileged))).get("CapEff");
      assert.equal(all, (await procStatus(Deno.pid)).get("CapBnd"));
      assert.equal(
        await execText(lab, privileged, ...shell("echo 1 > /proc/sys/net/ipv4/ip_forward && echo ok")),
        "ok",
      );
      assert.match(
        await execText(lab, one, ...shell("echo 1 > /proc/sys/net/ipv4/ip_forward && echo ok")),
        /not permitted/,
      );
      await pod.remove();
    });

    await step("a host port leads to the container and is closed with the pod", async () => {
      const pod = await PodUnderTest.run(lab, "ports", {
        change: (config) => {
          config.portMappings = [message(PortMapping, { containerPort: 8080, hostPort: 18080 })];
        },
      });
      await pod.start({
        command: shell("trap 'exit 0' TERM; while true; do echo from the pod | busybox nc -l -p 8080 & wait $!; done"),
      });
      const said = await until("the port", () => fromHost(18080).then((text) => text || undefined, () => undefined));
      assert.equal(said, "from the pod\n");
      await pod.remove();
      await assert.rejects(fromHost(18080));
    });

    await step("exit codes, reasons and times are right, out of memory too", async () => {
      const pod = await PodUnderTest.run(lab, "ends");
      const { status: three } = await pod.output({ command: shell("exit 3") });
      assert.deepEqual([three.exitCode, three.reason], [3, "Error"]);
      assert.ok(three.createdAt <= three.startedAt && three.startedAt <= three.finishedAt, "times");
      const { status: zero } = await pod.output({ command: ["/bin/true"] });
      assert.deepEqual([zero.exitCode, zero.reason], [0, "Completed"]);
      const killed = await pod.start({});
      await client.call("stopContainer", { containerId: killed, timeout: 0n });
      assert.equal((await statusOf(lab, killed)).exitCode, 137);
      const hungry = shell("x=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; while true; do x=$x$x; done");
      const { status: oom } = await pod.output(
        limited({ memoryLimitInBytes: 16n << 20n, memorySwapLimitInBytes: 16n << 20n }, hungry),
      );
      assert.deepEqual([oom.exitCode, oom.reason], [137, "OOMKilled"]);
      const nothing = await pod.start({ command: ["/no/such/program"] }).catch((error: Error) => error);
      assert.ok(nothing instanceof Error);
      assert.match(nothing.message, /\/no\/such\/program/);
      await pod.remove();
    });

    await step("a terminal and standard input", async () => {
      const pod = await PodUnderTest.run(lab, "terminal");
      const { text } = await pod.output({
        command: shell("test -t 0 && test -t 1 && echo terminal; echo $TERM"),
        change: (config) => {
          config.tty = true;
          config.stdin = true;
        },
      });
      assert.deepEqual(text.split(/\s+/).filter(Boolean), ["terminal", "xterm"]);
      const waiting = await pod.start({
        command: ["/bin/cat"],
        change: (config) => {
          config.stdin = true;
        },
      });
      assert.equal((await statusOf(lab, waiting)).state, ContainerState.CONTAINER_RUNNING);
      await client.call("stopContainer", { containerId: waiting, timeout: 0n });
      const { status } = await pod.output({ command: ["/bin/cat"] });
      assert.equal(status.exitCode, 0);
      await pod.remove();
    });

    await step("a log goes on in a new file after ReopenContainerLog", async () => {
      const pod = await PodUnderTest.run(lab, "rotation");
      const id = await pod.start({ command: shell("while true; do echo line; sleep 0.02; done") });
      const { logPath } = await statusOf(lab, id);
      await until("a first line", async () => (await Deno.stat(logPath)).size > 0 || undefined);
      await Deno.rename(logPath, `${logPath}.1`);
      await client.call("reopenContainerLog", { containerId: id });
      await until("a line in the new file", async () => (await Deno.stat(logPath)).size > 0 || undefined);
      await client.call("stopContainer", { containerId: id, timeout: 0n });
      await assert.rejects(client.call("reopenContainerLog", { containerId: id }), /FAILED_PRECONDITION|not running/);
      await pod.remove();
    });

    await step("ends that come while the daemon is away are told after its start, with their logs", async () => {
      const pod = await PodUnderTest.run(lab, "away");
      const id = await pod.start({ command: shell("sleep 0.5; echo last words; exit 42") });
      const stays = await pod.start({});
      const pid = await pidOf(lab, stays);
      await lab.daemon.stop("SIGKILL");
      await until("the end", async () => {
        return await Deno.stat(`${lab.directory}/exits/${id}`).then(() => true, () => undefined);
      });
      await lab.daemon.start();
      const status = await exited(lab, id);
      assert.equal(status.exitCode, 42);
      assert.equal(await pod.log(status), "last words");
      assert.equal(await pidOf(lab, stays), pid);
      assert.equal(await execText(lab, stays, "echo", "here"), "here");
      const { status: of } = await lab.daemon.client.call("podSandboxStatus", { podSandboxId: pod.id });
      assert.match(of?.network?.ip ?? "", /^10\.238\.77\./);
      await pod.remove();
    });

    await step("nothing is left", async () => {
      assert.deepEqual(await lab.leaks(), []);
    });
  });
}

async function run(...argv: string[]): Promise<void> {
  const [program = "", ...args] = argv;
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
