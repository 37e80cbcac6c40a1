import assert from "node:assert/strict";
import {
  Capability,
  NamespaceMode,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
  SupplementalGroupsPolicy,
} from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { pidOf } from "../harness/tries.ts";
import { type FieldBench, type FieldCheck, namespaces, secured, securedPod } from "./check.ts";

const NET_BIND_SERVICE = 1n << 10n;
const CHOWN = 1n;

async function capabilities(bench: FieldBench, id: string, set: string): Promise<bigint> {
  return BigInt(`0x${await bench.status(id, set)}`);
}

function profile(profileType: ProfileType, localhostRef = ""): SecurityProfile {
  return message(SecurityProfile, { profileType, localhostRef });
}

/** Writes a seccomp profile that refuses mkdir, and gives its path. */
async function noMkdirProfile(bench: FieldBench): Promise<string> {
  const path = `${bench.lab.directory}/no-mkdir.json`;
  const syscalls = [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }];
  await Deno.writeTextFile(path, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls }));
  return path;
}

const withoutApparmor: NonNullable<FieldCheck["skip"]> = ({ apparmor }) =>
  apparmor ? undefined : "the host has no AppArmor";
const withoutSelinux: NonNullable<FieldCheck["skip"]> = ({ selinux }) =>
  selinux ? undefined : "the host has no SELinux";

async function selfNamespace(kind: string): Promise<string> {
  return await Deno.readLink(`/proc/self/ns/${kind}`);
}

const GROUPS_IMAGE = "user 1000 of the image is in group 50000";

export const SECURITY_FIELDS: readonly FieldCheck[] = [
  {
    field: "LinuxContainerSecurityContext.capabilities",
    shows: "with all dropped and one added, the bounding set holds that one",
    prove: async (bench) => {
      const sets = message(Capability, { dropCapabilities: ["ALL"], addCapabilities: ["NET_BIND_SERVICE"] });
      const id = await bench.secured({ capabilities: sets });
      assert.equal(await capabilities(bench, id, "CapBnd"), NET_BIND_SERVICE);
    },
  },
  {
    field: "Capability.addCapabilities",
    shows: "SYS_PTRACE, which no container has by itself, is in the effective set",
    prove: async (bench) => {
      const id = await bench.secured({ capabilities: message(Capability, { addCapabilities: ["SYS_PTRACE"] }) });
      assert.ok(await capabilities(bench, id, "CapEff") & 1n << 19n);
    },
  },
  {
    field: "Capability.dropCapabilities",
    shows: "CHOWN is not in the bounding set",
    prove: async (bench) => {
      const id = await bench.secured({ capabilities: message(Capability, { dropCapabilities: ["CHOWN"] }) });
      assert.equal(await capabilities(bench, id, "CapBnd") & CHOWN, 0n);
    },
  },
  {
    field: "Capability.addAmbientCapabilities",
    shows: "an ordinary user has the capability in the ambient and the effective set",
    prove: async (bench) => {
      const id = await bench.secured({
        runAsUser: { value: 1000n },
        capabilities: message(Capability, { addAmbientCapabilities: ["NET_BIND_SERVICE"] }),
      });
      assert.equal(await capabilities(bench, id, "CapAmb"), NET_BIND_SERVICE);
      assert.ok(await capabilities(bench, id, "CapEff") & NET_BIND_SERVICE);
    },
  },
  {
    field: "LinuxContainerSecurityContext.privileged",
    shows: "all capabilities of the daemon, the node's devices, /proc/sys writable",
    prove: async (bench) => {
      const pod = await bench.pod(securedPod({ privileged: true }));
      const id = await pod.start({ change: secured({ privileged: true }) });
      assert.equal(await capabilities(bench, id, "CapEff"), await ownCapabilities());
      assert.equal(await bench.exec(id, "ls", "/dev/loop-control"), "/dev/loop-control");
      assert.equal(await bench.shell(id, "echo 1 > /proc/sys/net/ipv4/ip_forward && echo yes"), "yes");
    },
  },
  {
    field: "LinuxSandboxSecurityContext.privileged",
    shows: "a privileged container is refused in a pod that is not, and runs in one that is",
    prove: async (bench) => {
      const plain = await bench.pod();
      await assert.rejects(plain.create({ change: secured({ privileged: true }) }), /privileged/);
      const pod = await bench.pod(securedPod({ privileged: true }));
      await pod.start({ change: secured({ privileged: true }) });
    },
  },
  {
    field: "LinuxContainerSecurityContext.namespaceOptions",
    shows: "a container with PID mode NODE is in the node's PID namespace",
    prove: async (bench) => {
      const id = await bench.secured({ namespaceOptions: namespaces({ pid: NamespaceMode.NODE }) });
      assert.equal(await bench.namespace(id, "pid"), await selfNamespace("pid"));
    },
  },
  {
    field: "LinuxSandboxSecurityContext.namespaceOptions",
    shows: "a pod with network mode NODE is in the node's network namespace",
    prove: async (bench) => {
      const options = namespaces({ network: NamespaceMode.NODE });
      const pod = await bench.pod((config) => {
        config.hostname = "";
        securedPod({ namespaceOptions: options })(config);
      });
      const id = await pod.start({ change: secured({ namespaceOptions: options }) });
      assert.equal(await bench.namespace(id, "net"), await selfNamespace("net"));
    },
  },
  {
    field: "NamespaceOption.network",
    shows: "NODE: the node's network namespace, no address of the pod's own",
    prove: async (bench) => {
      const options = namespaces({ network: NamespaceMode.NODE });
      const pod = await bench.pod(securedPod({ namespaceOptions: options }));
      const id = await pod.start({ change: secured({ namespaceOptions: options }) });
      assert.equal(await bench.namespace(id, "net"), await selfNamespace("net"));
      const { status } = await bench.lab.daemon.client.call("podSandboxStatus", { podSandboxId: pod.id });
      assert.equal(status?.network?.ip, "");
    },
  },
  {
    field: "NamespaceOption.pid",
    shows: "NODE: the node's; CONTAINER: one that no other container of the pod has; POD: one for all",
    prove: async (bench) => {
      const shared = namespaces({ pid: NamespaceMode.POD });
      const pod = await bench.pod(securedPod({ namespaceOptions: shared }));
      const start = (pid: NamespaceMode): Promise<string> =>
        pod.start({ change: secured({ namespaceOptions: namespaces({ pid }) }) });
      const [one, two] = [await start(NamespaceMode.POD), await start(NamespaceMode.POD)];
      assert.equal(await bench.namespace(one, "pid"), await bench.namespace(two, "pid"));
      const own = await start(NamespaceMode.CONTAINER);
      assert.notEqual(await bench.namespace(own, "pid"), await bench.namespace(one, "pid"));
      const node = await start(NamespaceMode.NODE);
      assert.equal(await bench.namespace(node, "pid"), await selfNamespace("pid"));
    },
  },
  {
    field: "NamespaceOption.ipc",
    shows: "NODE: the node's IPC namespace",
    prove: async (bench) => {
      const options = namespaces({ ipc: NamespaceMode.NODE });
      const pod = await bench.pod(securedPod({ namespaceOptions: options }));
      const id = await pod.start({ change: secured({ namespaceOptions: options }) });
      assert.equal(await bench.namespace(id, "ipc"), await selfNamespace("ipc"));
    },
  },
  {
    field: "NamespaceOption.targetId",
    shows: "TARGET: the PID namespace of that container, whose processes it sees",
    prove: async (bench) => {
      const pod = await bench.pod();
      const target = await pod.start({});
      const options = namespaces({ pid: NamespaceMode.TARGET, targetId: target });
      const id = await pod.start({ change: secured({ namespaceOptions: options }) });
      assert.equal(await bench.namespace(id, "pid"), await bench.namespace(target, "pid"));
    },
  },
  {
    field: "LinuxContainerSecurityContext.selinuxOptions",
    shows: "the process has that label",
    skip: withoutSelinux,
    prove: async (bench) => {
      const selinuxOptions = { user: "", role: "", type: "", level: "s0:c7,c9" };
      const id = await bench.secured({ selinuxOptions });
      assert.match(await Deno.readTextFile(`/proc/${await pidOf(bench.lab, id)}/attr/current`), /s0:c7,c9/);
    },
  },
  {
    field: "LinuxSandboxSecurityContext.selinuxOptions",
    shows: "containers of the pod have that level",
    skip: withoutSelinux,
    prove: async (bench) => {
      const pod = await bench.pod(securedPod({ selinuxOptions: { user: "", role: "", type: "", level: "s0:c7,c9" } }));
      const pid = await pidOf(bench.lab, await pod.start({}));
      assert.match(await Deno.readTextFile(`/proc/${pid}/attr/current`), /s0:c7,c9/);
    },
  },
  {
    field: "LinuxContainerSecurityContext.runAsUser",
    shows: "the process has that uid in all four places",
    prove: async (bench) => {
      assert.equal(
        await bench.status(await bench.secured({ runAsUser: { value: 1234n } }), "Uid"),
        "1234\t1234\t1234\t1234",
      );
    },
  },
  {
    field: "LinuxContainerSecurityContext.runAsUsername",
    shows: "the uid and gid that the image's passwd gives the name",
    prove: async (bench) => {
      const id = await bench.secured({ runAsUsername: "nobody" });
      assert.match(await bench.status(id, "Uid"), /^65534\t/);
      assert.match(await bench.status(id, "Gid"), /^65534\t/);
    },
  },
  {
    field: "LinuxContainerSecurityContext.runAsGroup",
    shows: "the process has that gid in all four places",
    prove: async (bench) => {
      const id = await bench.secured({ runAsUser: { value: 1234n }, runAsGroup: { value: 2345n } });
      assert.equal(await bench.status(id, "Gid"), "2345\t2345\t2345\t2345");
    },
  },
  {
    field: "LinuxContainerSecurityContext.supplementalGroups",
    shows: "the process is in that group",
    prove: async (bench) => {
      const id = await bench.secured({ runAsUser: { value: 1234n }, supplementalGroups: [3456n] });
      assert.ok((await bench.status(id, "Groups")).split(" ").includes("3456"));
    },
  },
  {
    field: "LinuxContainerSecurityContext.supplementalGroupsPolicy",
    shows: `Strict leaves out the groups that the image's group file gives the user (${GROUPS_IMAGE})`,
    prove: async (bench) => {
      const run = (policy: SupplementalGroupsPolicy): Promise<string> =>
        bench.secured({ runAsUser: { value: 1000n }, supplementalGroups: [3456n], supplementalGroupsPolicy: policy });
      const merged = await bench.status(await run(SupplementalGroupsPolicy.Merge), "Groups");
      assert.ok(merged.split(" ").includes("50000"), merged);
      const strict = await bench.status(await run(SupplementalGroupsPolicy.Strict), "Groups");
      assert.ok(!strict.split(" ").includes("50000") && strict.split(" ").includes("3456"), strict);
    },
  },
  {
    field: "LinuxContainerSecurityContext.readonlyRootfs",
    shows: "a file cannot be made at the root",
    prove: async (bench) => {
      assert.match(
        await bench.exec(await bench.secured({ readonlyRootfs: true }), "touch", "/file"),
        /Read-only file system/,
      );
    },
  },
  {
    field: "LinuxContainerSecurityContext.noNewPrivs",
    shows: "NoNewPrivs is 1",
    prove: async (bench) => {
      assert.equal(await bench.status(await bench.secured({ noNewPrivs: true }), "NoNewPrivs"), "1");
    },
  },
  {
    field: "LinuxContainerSecurityContext.maskedPaths",
    shows: "the file there is empty, the directory has nothing in it",
    prove: async (bench) => {
      const id = await bench.secured({ maskedPaths: ["/proc/cpuinfo", "/etc"] });
      assert.equal(await bench.shell(id, "cat /proc/cpuinfo; ls /etc"), "");
    },
  },
  {
    field: "LinuxContainerSecurityContext.readonlyPaths",
    shows: "a file cannot be made below it",
    prove: async (bench) => {
      assert.match(
        await bench.exec(await bench.secured({ readonlyPaths: ["/tmp"] }), "touch", "/tmp/x"),
        /Read-only file system/,
      );
    },
  },
  {
    field: "LinuxContainerSecurityContext.seccomp",
    shows: "RuntimeDefault: the process has a filter, and may not make a user namespace; Unconfined: no filter",
    prove: async (bench) => {
      const unconfined = await bench.secured({ seccomp: profile(ProfileType.Unconfined) });
      assert.equal(await bench.status(unconfined, "Seccomp"), "0");
      const filtered = await bench.secured({ seccomp: profile(ProfileType.RuntimeDefault) });
      assert.equal(await bench.status(filtered, "Seccomp"), "2");
      assert.match(await bench.exec(filtered, "busybox", "unshare", "-U", "true"), /not permitted/);
      const named = await bench.secured({ seccomp: profile(ProfileType.Localhost, await noMkdirProfile(bench)) });
      assert.match(await bench.exec(named, "busybox", "mkdir", "/x"), /not permitted/);
    },
  },
  {
    field: "SecurityProfile.profileType",
    shows: "Unconfined: no filter",
    prove: async (bench) => {
      assert.equal(
        await bench.status(await bench.secured({ seccomp: profile(ProfileType.Unconfined) }), "Seccomp"),
        "0",
      );
    },
  },
  {
    field: "SecurityProfile.localhostRef",
    shows: "the profile of that file refuses mkdir",
    prove: async (bench) => {
      const seccomp = profile(ProfileType.Localhost, await noMkdirProfile(bench));
      assert.match(await bench.exec(await bench.secured({ seccomp }), "busybox", "mkdir", "/x"), /not permitted/);
    },
  },
  {
    field: "LinuxContainerSecurityContext.seccompProfilePath",
    shows: "the older form `localhost/<path>`: the profile of that file refuses mkdir",
    prove: async (bench) => {
      const id = await bench.secured({ seccompProfilePath: `localhost/${await noMkdirProfile(bench)}` });
      assert.match(await bench.exec(id, "busybox", "mkdir", "/x"), /not permitted/);
    },
  },
  {
    field: "LinuxContainerSecurityContext.apparmor",
    shows: "the process is confined by crio-default, or unconfined",
    skip: withoutApparmor,
    prove: async (bench) => {
      const current = async (choice: SecurityProfile): Promise<string> => {
        const pid = await pidOf(bench.lab, await bench.secured({ apparmor: choice }));
        return await Deno.readTextFile(`/proc/${pid}/attr/current`);
      };
      assert.match(await current(profile(ProfileType.RuntimeDefault)), /crio-default/);
      assert.match(await current(profile(ProfileType.Unconfined)), /unconfined/);
    },
  },
  {
    field: "LinuxContainerSecurityContext.apparmorProfile",
    shows: "the older form `unconfined`",
    skip: withoutApparmor,
    prove: async (bench) => {
      const pid = await pidOf(bench.lab, await bench.secured({ apparmorProfile: "unconfined" }));
      assert.match(await Deno.readTextFile(`/proc/${pid}/attr/current`), /unconfined/);
    },
  },
];

/** All capabilities that this process, and so the daemon, has. */
async function ownCapabilities(): Promise<bigint> {
  const line = /^CapBnd:\s*([0-9a-f]+)$/m.exec(await Deno.readTextFile("/proc/self/status"))?.[1];
  return BigInt(`0x${line}`);
}

/** Fields that nothing of a pod depends on here, with the reason. */
export const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  "LinuxSandboxSecurityContext.runAsUser": "the infra process is ours: always nobody",
  "LinuxSandboxSecurityContext.runAsGroup": "the same",
  "LinuxSandboxSecurityContext.readonlyRootfs": "its root is always read-only and holds nothing but the program",
  "LinuxSandboxSecurityContext.supplementalGroups": "it is in no group",
  "LinuxSandboxSecurityContext.supplementalGroupsPolicy": "the same",
  "LinuxSandboxSecurityContext.seccomp": "it makes no system call but pause(2), with no capability and no_new_privs",
  "LinuxSandboxSecurityContext.seccompProfilePath": "the same",
  "LinuxSandboxSecurityContext.apparmor": "the same",
};
