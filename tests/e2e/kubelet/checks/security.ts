import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { commandsIn, namespaceOf, procStatus } from "../kernel.ts";
import type { TestNode } from "../node.ts";
import type { Fields } from "../pod_types.ts";
import { handlerLacks } from "../skips.ts";
import type { TestPod } from "../test_pod.ts";

/** A running pod of one container with these security settings, and what the kernel says of its process. */
async function secured(
  node: TestNode,
  name: string,
  options: { readonly container?: Fields; readonly pod?: Fields; readonly more?: Fields },
): Promise<{ pod: TestPod; kernel: Map<string, string>; pid: number }> {
  const { container = {}, pod: podContext = {}, more = {} } = options;
  const pod = await node.run(name, {
    securityContext: podContext,
    containers: [{ name: "main", command: SLEEPER, securityContext: container }],
    ...more,
  });
  await pod.ready();
  const pid = await pod.pid("main");
  return { pod, pid, kernel: await procStatus(pid) };
}

const NET_BIND = 1n << 10n;
const NET_ADMIN = 1n << 12n;
const SYS_TIME = 1n << 25n;

export const SECURITY: readonly Check[] = [
  check("runAsUser, runAsGroup and supplementalGroups are the process's", async (node) => {
    const { pod, kernel } = await secured(node, "users", {
      pod: { runAsUser: 1234, runAsGroup: 2345, supplementalGroups: [3456, 4567] },
    });
    assert.deepEqual(kernel.get("Uid")?.split("\t"), ["1234", "1234", "1234", "1234"]);
    assert.deepEqual(kernel.get("Gid")?.split("\t"), ["2345", "2345", "2345", "2345"]);
    const groups = kernel.get("Groups")?.split(" ") ?? [];
    assert.ok(groups.includes("3456") && groups.includes("4567"), groups.join());
    const user = (await pod.container("main")).user?.linux;
    assert.deepEqual([user?.uid, user?.gid], [1234, 2345]);
    await pod.delete();
  }),
  check("fsGroup owns the volumes and is one of the process's groups", async (node) => {
    const pod = await node.run("fs-group", {
      securityContext: { runAsUser: 1234, fsGroup: 5678 },
      containers: [{ name: "main", command: SLEEPER, volumeMounts: [{ name: "data", mountPath: "/data" }] }],
      volumes: [{ name: "data", emptyDir: {} }],
    });
    await pod.ready();
    assert.equal(
      await pod.shell("main", "touch /data/file; stat -c '%u %g' /data/file; stat -c %g /data"),
      "1234 5678\n5678",
    );
    await pod.delete();
  }),
  check("runAsNonRoot refuses an image that runs as root", async (node) => {
    const pod = await node.run("non-root", {
      containers: [{ name: "main", command: SLEEPER, securityContext: { runAsNonRoot: true } }],
    });
    const waiting = await pod.untilContainer(
      "main",
      "refused",
      ({ state }) => state.waiting?.message !== undefined && state.waiting,
    );
    assert.equal(waiting.reason, "CreateContainerConfigError");
    assert.match(waiting.message ?? "", /runAsNonRoot/);
    await pod.delete();
  }),
  check("the image's own user, entry point and directory count where the pod says nothing", async (node) => {
    const image = node.image.replace("busybox", "nobody");
    const pod = await node.run("image-user", {
      containers: [{ name: "main", image, args: [...shell("pwd; id -u; trap 'exit 0' INT; sleep 100000 & wait")] }],
    });
    await pod.ready();
    assert.equal(await pod.log("main"), "/work/here\n65534\n");
    assert.equal((await procStatus(await pod.pid("main"))).get("Uid")?.split("\t")[0], "65534");
    await pod.delete();
  }),
  check("readOnlyRootFilesystem: only volumes can be written", async (node) => {
    const pod = await node.run("read-only", {
      containers: [{
        name: "main",
        command: SLEEPER,
        securityContext: { readOnlyRootFilesystem: true },
        volumeMounts: [{ name: "data", mountPath: "/data" }],
      }],
      volumes: [{ name: "data", emptyDir: {} }],
    });
    await pod.ready();
    const { stderr } = await pod.exec("main", shell("touch /data/file && touch /file"));
    assert.match(stderr, /\/file: Read-only file system/);
    await pod.delete();
  }),
  check("capabilities are dropped and added", async (node) => {
    const capabilities = { drop: ["ALL"], add: ["NET_BIND_SERVICE", "NET_ADMIN"] };
    const { pod, kernel } = await secured(node, "capabilities", { container: { capabilities } });
    for (const set of ["CapEff", "CapPrm", "CapBnd"]) {
      assert.equal(BigInt(`0x${kernel.get(set)}`), NET_BIND | NET_ADMIN, set);
    }
    await pod.delete();
  }),
  check("without a wish a container has the usual capabilities, not those that change the machine", async (node) => {
    const { pod, kernel } = await secured(node, "usual-capabilities", {});
    const effective = BigInt(`0x${kernel.get("CapEff")}`);
    assert.equal(effective & NET_BIND, NET_BIND);
    assert.equal(effective & (NET_ADMIN | SYS_TIME), 0n);
    await pod.delete();
  }),
  check("allowPrivilegeEscalation: false sets no_new_privs", async (node) => {
    const { pod, kernel } = await secured(node, "no-escalation", { container: { allowPrivilegeEscalation: false } });
    assert.equal(kernel.get("NoNewPrivs"), "1");
    await pod.delete();
  }),
  check("a privileged container has all devices and capabilities, and no filter", async (node) => {
    const { pod, kernel } = await secured(node, "privileged", { container: { privileged: true } });
    const own = BigInt(`0x${(await procStatus(Deno.pid)).get("CapEff")}`);
    assert.equal(BigInt(`0x${kernel.get("CapEff")}`), own);
    assert.equal(kernel.get("Seccomp"), "0");
    assert.equal(
      await pod.shell("main", "test -c /dev/loop-control || test -c /dev/fuse || test -c /dev/kmsg; echo $?"),
      "0",
    );
    await pod.delete();
  }),
  check("seccomp: RuntimeDefault filters, Unconfined does not", async (node) => {
    const filtered = await secured(node, "seccomp", { container: { seccompProfile: { type: "RuntimeDefault" } } });
    assert.equal(filtered.kernel.get("Seccomp"), "2");
    await filtered.pod.delete();
    const open = await secured(node, "no-seccomp", { container: { seccompProfile: { type: "Unconfined" } } });
    assert.equal(open.kernel.get("Seccomp"), "0");
    await open.pod.delete();
  }),
  check("seccomp: a profile of the node's own refuses what it names", async (node) => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }],
    };
    const directory = `${node.kubelet.rootDirectory}/seccomp`;
    await Deno.mkdir(directory, { recursive: true });
    await Deno.writeTextFile(`${directory}/no-mkdir.json`, JSON.stringify(profile));
    const { pod } = await secured(node, "seccomp-own", {
      container: { seccompProfile: { type: "Localhost", localhostProfile: "no-mkdir.json" } },
    });
    const { stderr } = await pod.exec("main", ["busybox", "mkdir", "/tmp/x"]);
    assert.match(stderr, /Operation not permitted/);
    await pod.delete();
  }),
  check("sysctls are the pod's namespaces' own", async (node) => {
    const before = await Deno.readTextFile("/proc/sys/net/ipv4/ip_local_port_range");
    const sysctls = [
      { name: "net.ipv4.ip_local_port_range", value: "20000 20099" },
      { name: "kernel.shm_rmid_forced", value: "1" },
      { name: "net.core.somaxconn", value: "321" },
    ];
    const { pod } = await secured(node, "sysctls", { pod: { sysctls } });
    const script = "cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shm_rmid_forced net/core/somaxconn";
    assert.equal(await pod.shell("main", script), "20000\t20099\n1\n321");
    assert.equal(await Deno.readTextFile("/proc/sys/net/ipv4/ip_local_port_range"), before);
    await pod.delete();
  }),
  check("what /proc tells about the machine is masked, what it could change is read-only", async (node) => {
    const { pod } = await secured(node, "masked", {});
    assert.equal(await pod.shell("main", "cat /proc/kcore /proc/timer_list 2>/dev/null | wc -c"), "0");
    const { exitCode } = await pod.exec("main", shell("echo b >/proc/sysrq-trigger"));
    assert.notEqual(exitCode, 0);
    await pod.delete();
  }),
  check("hostPID: the node's processes are seen", async (node) => {
    const { pod, pid } = await secured(node, "host-pid", { more: { hostPID: true } });
    assert.equal(await namespaceOf(pid, "pid"), await namespaceOf("self", "pid"));
    assert.equal(await pod.shell("main", `test -d /proc/${node.kubelet.pid}; echo $?`), "0");
    await pod.delete();
  }),
  check("hostIPC: the node's System V objects are seen", async (node) => {
    const { pod, pid } = await secured(node, "host-ipc", { more: { hostIPC: true } });
    assert.equal(await namespaceOf(pid, "ipc"), await namespaceOf("self", "ipc"));
    await pod.delete();
  }),
  check("shareProcessNamespace: containers of the pod see each other's processes", async (node) => {
    const pod = await node.run("share-pids", {
      shareProcessNamespace: true,
      containers: [{ name: "one", command: shell("exec sleep 54321") }, { name: "two", command: SLEEPER }],
    });
    await pod.ready();
    assert.match(await pod.shell("two", "ps"), /sleep 54321/);
    assert.equal(await namespaceOf(await pod.pid("one"), "pid"), await namespaceOf(await pod.pid("two"), "pid"));
    assert.ok((await commandsIn(await pod.pid("two"))).some((line) => line.includes("sleep 54321")));
    await pod.delete();
  }),
  check("hostUsers: false maps the pod's root to nobody of the node", async (node) => {
    const { pod, pid } = await secured(node, "own-users", { more: { hostUsers: false } });
    const [inside, outside, length] = (await Deno.readTextFile(`/proc/${pid}/uid_map`)).trim().split(/\s+/).map(Number);
    assert.equal(inside, 0);
    assert.ok((outside ?? 0) >= 65536, String(outside));
    assert.equal(length, 65536);
    assert.equal(await pod.shell("main", "id -u"), "0");
    await pod.delete();
  }, { skip: (node) => handlerLacks(node, "userNamespaces") }),
];
