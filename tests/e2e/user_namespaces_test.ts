/** Pods with user namespaces of their own: what the kernel says of ids and owners, inside and outside. */
import assert from "node:assert/strict";
import {
  IDMapping,
  ImageSpec,
  Int64Value,
  LinuxContainerSecurityContext,
  Mount,
  NamespaceMode,
  NamespaceOption,
  UserNamespace,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, type Wish } from "./harness/tries.ts";

/** In the upper half of all ids: a kubelet gives out those too. */
const BASE = 3_000_000_000;
/** Not in the upper half, where the kernel lets no ping_group_range begin. */
const GROUP_BASE = 200_000;
const UIDS = [message(IDMapping, { containerId: 0, hostId: BASE, length: 65_536 })];
const GIDS = [message(IDMapping, { containerId: 0, hostId: GROUP_BASE, length: 65_536 })];
const USERNS = message(UserNamespace, { mode: NamespaceMode.POD, uids: UIDS, gids: GIDS });
const NEW_RUNC = Deno.env.get("RUNC_NEW") ?? "";

type Modes = Partial<NamespaceOption>;

function options(modes: Modes): NamespaceOption {
  return message(NamespaceOption, { pid: NamespaceMode.CONTAINER, usernsOptions: USERNS, ...modes });
}

function runPod(lab: Lab, name: string, handler: string, modes: Modes = {}): Promise<PodUnderTest> {
  return PodUnderTest.run(lab, name, {
    runtimeHandler: handler,
    change: (config) => {
      if (modes.network === NamespaceMode.NODE) config.hostname = "";
      if (config.linux === undefined) return;
      config.linux.sysctls = modes.network === NamespaceMode.NODE
        ? new Map()
        : new Map([["net.ipv4.ping_group_range", "0 2147483647"], ["kernel.shm_rmid_forced", "1"]]);
      if (config.linux.securityContext !== undefined) config.linux.securityContext.namespaceOptions = options(modes);
    },
  });
}

function wish(
  { modes = {}, mounts = [], user }: { modes?: Modes; mounts?: readonly Mount[]; user?: number } = {},
): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      config.mounts = [...mounts];
      config.linux = {
        resources: undefined,
        securityContext: message(LinuxContainerSecurityContext, {
          namespaceOptions: options(modes),
          ...(user === undefined ? {} : { runAsUser: message(Int64Value, { value: BigInt(user) }) }),
        }),
      };
    },
  };
}

async function ownerOf(path: string): Promise<Array<number | null>> {
  const { uid, gid } = await Deno.lstat(path);
  return [uid, gid];
}

async function uidMap(pid: number): Promise<string> {
  return (await Deno.readTextFile(`/proc/${pid}/uid_map`)).trim().replaceAll(/\s+/g, " ");
}

const runtimes = ["crun", "runc", "runc-new"].map((name) => ({ name, path: name === "runc-new" ? NEW_RUNC : "" }));

for (const { name: runtime, path } of runtimes) {
  const missing = runtime === "runc-new" && !await Deno.stat(path).then(() => true, () => false);
  Deno.test({
    name: `${runtime}: pods have user namespaces${
      missing ? " (skipped: RUNC_NEW names none: tests/e2e/run builds one)" : ""
    }`,
    ignore: missing,
    fn: async (t) => {
      await using lab = await Lab.start(
        path === "" ? { defaultRuntime: runtime as "crun" | "runc" } : {
          extraConfig: `[crio.runtime.runtimes.${runtime}]\nruntime_path = "${path}"\nruntime_root = "/run/runc/new"\n`,
        },
      );
      await lab.pull();
      const { client } = lab.daemon;
      const { runtimeHandlers } = await client.call("status", {});
      assert.ok(runtimeHandlers.find(({ name }) => name === runtime)?.features?.userNamespaces);
      const volume = `${lab.directory}/volume`;
      await Deno.mkdir(volume);
      await Deno.writeTextFile(`${volume}/secret`, "root only", { mode: 0o600 });
      const pod = await runPod(lab, "mapped", runtime);
      let id = "";

      await t.step("a container's processes and files are its own root's, and nobody's on the node", async () => {
        id = await pod.start(wish());
        const pid = await pidOf(lab, id);
        assert.equal(await uidMap(pid), `0 ${BASE} 65536`);
        assert.equal((await procStatus(pid)).get("Uid"), Array(4).fill(BASE).join("\t"));
        for (
          const file of ["/etc/passwd", "/bin/busybox", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm"]
        ) {
          assert.deepEqual(await ownerOf(`/proc/${pid}/root${file}`), [BASE, GROUP_BASE], file);
        }
        assert.equal(await execText(lab, id, "id", "-u"), "0");
        assert.equal(await execText(lab, id, "touch", "/new", "/dev/shm/new"), "");
        assert.deepEqual(await ownerOf(`/proc/${pid}/root/new`), [BASE, GROUP_BASE]);
        // The node's root cannot be had back: its files belong to nobody here.
        assert.equal(await execText(lab, id, "stat", "-c", "%u", "/proc/sys"), "65534");
      });

      await t.step("the pod's namespaces belong to it, with its sysctls", async () => {
        assert.equal(await execText(lab, id, "cat", "/proc/sys/net/ipv4/ping_group_range"), "0\t65535");
        assert.equal(await execText(lab, id, "cat", "/proc/sys/kernel/shm_rmid_forced"), "1");
        assert.match(await execText(lab, id, "/bin/busybox", "ip", "addr"), /10\.238\.77\./);
        const { stats } = await client.call("podSandboxStats", { podSandboxId: pod.id });
        assert.ok((stats?.linux?.network?.defaultInterface?.rxBytes?.value ?? 0n) > 0n);
      });

      await t.step("volumes with mappings show owners as they are stored, others show nobody", async () => {
        const at = (containerPath: string, maps: Partial<Mount>): Mount =>
          message(Mount, { containerPath, hostPath: volume, ...maps });
        const mapped = { uidMappings: UIDS, gidMappings: GIDS };
        const file = message(Mount, { containerPath: "/file", hostPath: `${volume}/secret`, ...mapped });
        const other = await pod.start(wish({ mounts: [at("/mapped", mapped), at("/plain", {}), file] }));
        assert.equal(await execText(lab, other, "cat", "/mapped/secret", "/file"), "root onlyroot only");
        assert.equal(await execText(lab, other, "touch", "/mapped/new"), "");
        assert.deepEqual(await ownerOf(`${volume}/new`), [0, 0]);
        assert.equal(await execText(lab, other, "stat", "-c", "%u", "/plain/secret"), "65534");
        assert.match(await execText(lab, other, "cat", "/plain/secret"), /Permission denied/);
        await pod.removeContainer(other);
      });

      await t.step("images as volumes belong to its root", async () => {
        const image = message(ImageSpec, { image: lab.image });
        const mounts = [message(Mount, { containerPath: "/image", readonly: true, image, imageSubPath: "etc" })];
        const other = await pod.start(wish({ mounts }));
        assert.equal(await execText(lab, other, "stat", "-c", "%u", "/image/passwd"), "0");
        await pod.removeContainer(other);
      });

      await t.step("users are mapped, and refused where they are not", async () => {
        const other = await pod.start(wish({ user: 1000 }));
        assert.match((await procStatus(await pidOf(lab, other))).get("Uid") ?? "", new RegExp(`^${BASE + 1000}\t`));
        await pod.removeContainer(other);
        await assert.rejects(pod.create(wish({ user: 70_000 })), /does not map/);
      });

      await t.step("it outlives the daemon", async () => {
        await lab.daemon.stop("SIGKILL");
        await lab.daemon.start();
        assert.equal(await execText(lab, id, "id", "-u"), "0");
        const again = { ...pod.request(wish()) };
        const { containerId } = await lab.daemon.client.call("createContainer", again);
        await lab.daemon.client.call("startContainer", { containerId });
        assert.equal(await uidMap(await pidOf(lab, containerId)), `0 ${BASE} 65536`);
      });

      await t.step("a shared PID namespace and the node's network go with it", async () => {
        const shared = await runPod(lab, "shared", runtime, { pid: NamespaceMode.POD });
        const inside = await shared.start(wish({ modes: { pid: NamespaceMode.POD } }));
        assert.match(await execText(lab, inside, "ps"), /1 .*\/pause/);
        await shared.remove();
        const modes = { network: NamespaceMode.NODE };
        const host = await runPod(lab, "host", runtime, modes);
        const other = await host.start(wish({ modes }));
        const pid = await pidOf(lab, other);
        assert.equal(await uidMap(pid), `0 ${BASE} 65536`);
        assert.equal(await Deno.readLink(`/proc/${pid}/ns/net`), await Deno.readLink("/proc/self/ns/net"));
        assert.match(await execText(lab, other, "ls", "/sys/class/net"), /lo/);
        await host.remove();
      });

      await lab.daemon.client.call("stopPodSandbox", { podSandboxId: pod.id });
      await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
      assert.deepEqual(await lab.leaks(), []);
      assert.deepEqual(await ownerOf(`${volume}/secret`), [0, 0]);
    },
  });
}

Deno.test("an annotation gives a pod ids of the node's pool, each pod others", async () => {
  const files = await Deno.makeTempDir({ prefix: "subids-" });
  const bound: string[] = [];
  try {
    for (const file of ["subuid", "subgid"]) {
      await Deno.writeTextFile(`${files}/${file}`, "containers:500000:131072\n");
      await run("mount", "--bind", `${files}/${file}`, `/etc/${file}`);
      bound.push(`/etc/${file}`);
    }
    await using lab = await Lab.start({
      extraConfig: `[crio.runtime.runtimes.pool]\nruntime_path = "/usr/bin/crun"\nruntime_root = "/run/crun/pool"\n` +
        `allowed_annotations = ["io.kubernetes.cri-o.userns-mode"]\n`,
    });
    await lab.pull();
    const start = async (name: string, handler: string, mode: string): Promise<number> => {
      const pod = await PodUnderTest.run(lab, name, {
        runtimeHandler: handler,
        change: (config) => void config.annotations.set("io.kubernetes.cri-o.userns-mode", mode),
      });
      return await pidOf(lab, await pod.start({}));
    };
    assert.equal(await uidMap(await start("one", "pool", "auto")), "0 500000 65536");
    assert.equal(await uidMap(await start("two", "pool", "auto:size=1000")), "0 565536 1000");
    const own = "private:uidmapping=0:7000:99;gidmapping=0:7000:99";
    assert.equal(await uidMap(await start("own", "pool", own)), "0 7000 99");
    assert.equal(await uidMap(await start("not-allowed", "crun", "auto")), "0 0 4294967295");
    await assert.rejects(start("too-many", "pool", "auto:size=100000"), /\/etc\/subuid/);
  } finally {
    for (const path of bound) await run("umount", path);
    await Deno.remove(files, { recursive: true });
  }
});

async function run(...[program = "", ...args]: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stderr: "piped" }).output();
  if (!success) throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
