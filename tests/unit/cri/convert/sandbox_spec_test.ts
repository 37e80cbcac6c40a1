import { deepEqual, equal, ok as assert, throws } from "node:assert/strict";
import { InvalidArgumentError, UnimplementedError } from "../../../../src/base/errors.ts";
import { sandboxSpec } from "../../../../src/cri/convert/sandbox_spec.ts";
import {
  LinuxContainerResources,
  LinuxPodSandboxConfig,
  LinuxSandboxSecurityContext,
  NamespaceMode,
  NamespaceOption,
  type PodSandboxConfig,
  type PortMapping,
  Protocol,
  SecurityProfile_ProfileType as ProfileType,
  type SupplementalGroupsPolicy,
  WindowsPodSandboxConfig,
} from "../../../../src/cri/gen/api.ts";
import { podConfig } from "../../../fakes/cri_operations.ts";

const none = new Uint8Array();

function spec(changes: Partial<PodSandboxConfig>): ReturnType<typeof sandboxSpec> {
  return sandboxSpec({ config: podConfig(changes), runtimeHandler: "" });
}

function linux(changes: Partial<LinuxPodSandboxConfig>): Partial<PodSandboxConfig> {
  return { linux: { ...LinuxPodSandboxConfig.decode(none), ...changes } };
}

function security(changes: Partial<LinuxSandboxSecurityContext>): Partial<PodSandboxConfig> {
  return linux({ securityContext: { ...LinuxSandboxSecurityContext.decode(none), ...changes } });
}

function namespaces(changes: Partial<NamespaceOption>): Partial<PodSandboxConfig> {
  return security({ namespaceOptions: { ...NamespaceOption.decode(none), ...changes } });
}

function port(changes: Partial<PortMapping>): Partial<PodSandboxConfig> {
  return { portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort: 0, hostIp: "", ...changes }] };
}

Deno.test("sandboxSpec() takes over every field", () => {
  const config: PodSandboxConfig = {
    metadata: { name: "web", namespace: "prod", uid: "u-1", attempt: 3 },
    hostname: "web-0",
    logDirectory: "/var/log/pods/x",
    dnsConfig: { servers: ["10.0.0.10"], searches: ["svc.cluster.local"], options: ["ndots:5"] },
    portMappings: [{ protocol: Protocol.SCTP, containerPort: 80, hostPort: 8080, hostIp: "fd00::1" }],
    labels: new Map([["app", "web"]]),
    annotations: new Map([["long", "x".repeat(10_000)]]),
    linux: {
      cgroupParent: "/kubepods/burstable/pod1",
      securityContext: {
        namespaceOptions: {
          network: NamespaceMode.NODE,
          pid: NamespaceMode.CONTAINER,
          ipc: NamespaceMode.NODE,
          targetId: "",
          usernsOptions: {
            mode: NamespaceMode.POD,
            uids: [{ hostId: 65536, containerId: 0, length: 65536 }],
            gids: [{ hostId: 65536, containerId: 0, length: 65536 }],
          },
        },
        selinuxOptions: { user: "u", role: "r", type: "t", level: "s0:c1,c2" },
        runAsUser: { value: 1000n },
        runAsGroup: { value: 0n },
        readonlyRootfs: true,
        supplementalGroups: [1n, 2n],
        supplementalGroupsPolicy: 1,
        privileged: true,
        seccomp: { profileType: ProfileType.Localhost, localhostRef: "/var/lib/kubelet/seccomp/a.json" },
        apparmor: { profileType: ProfileType.Localhost, localhostRef: "localhost/mine" },
        seccompProfilePath: "unconfined",
      },
      sysctls: new Map([["net.ipv4.ip_local_port_range", "1024\t65535"], ["net/core/somaxconn", "1"]]),
      overhead: { ...LinuxContainerResources.decode(none), memoryLimitInBytes: 5n },
      resources: { ...LinuxContainerResources.decode(none), cpuShares: 100n, oomScoreAdj: -998n },
    },
    windows: WindowsPodSandboxConfig.decode(none),
  };
  deepEqual(sandboxSpec({ config, runtimeHandler: "runc" }), {
    metadata: { name: "web", namespace: "prod", uid: "u-1", attempt: 3 },
    hostname: "web-0",
    logDirectory: "/var/log/pods/x",
    dns: { servers: ["10.0.0.10"], searches: ["svc.cluster.local"], options: ["ndots:5"] },
    portMappings: [{ protocol: "sctp", containerPort: 80, hostPort: 8080, hostIp: "fd00::1" }],
    labels: {
      "app": "web",
      "io.kubernetes.pod.name": "web",
      "io.kubernetes.pod.namespace": "prod",
      "io.kubernetes.pod.uid": "u-1",
    },
    annotations: { long: "x".repeat(10_000) },
    runtimeHandler: "runc",
    cgroupParent: "/kubepods/burstable/pod1",
    sysctls: { "net.ipv4.ip_local_port_range": "1024\t65535", "net/core/somaxconn": "1" },
    overhead: { memoryLimitBytes: 5, oomScoreAdj: 0 },
    resources: { cpuShares: 100, oomScoreAdj: -998 },
    security: {
      namespaces: {
        network: "node",
        ipc: "node",
        pid: { kind: "container" },
        user: {
          uidMaps: [{ hostId: 65536, containerId: 0, length: 65536 }],
          gidMaps: [{ hostId: 65536, containerId: 0, length: 65536 }],
        },
      },
      selinux: { user: "u", role: "r", type: "t", level: "s0:c1,c2" },
      runAsUser: 1000,
      runAsGroup: 0,
      readonlyRootfs: true,
      supplementalGroups: [1, 2],
      privileged: true,
      seccomp: { kind: "localhost", ref: "/var/lib/kubelet/seccomp/a.json" },
      apparmor: { kind: "localhost", ref: "mine" },
    },
  });
});

Deno.test("sandboxSpec() gives the CRI's defaults for what is absent", () => {
  const expected = {
    namespaces: { network: "pod", ipc: "pod", pid: { kind: "pod" } },
    privileged: false,
    readonlyRootfs: false,
    supplementalGroups: [],
  };
  for (const config of [podConfig(), podConfig(linux({})), podConfig(security({})), podConfig(namespaces({}))]) {
    const { security: given, dns, resources } = sandboxSpec({ config, runtimeHandler: "" });
    deepEqual([given, dns, resources], [expected, undefined, {}]);
  }
  equal(spec({ metadata: { name: "a", namespace: "b", uid: "", attempt: 0 } }).metadata.uid, "");
});

Deno.test("sandboxSpec() keeps a client's own kubelet labels and odd keys", () => {
  const { labels } = spec({ labels: new Map([["io.kubernetes.pod.name", "other"], ["__proto__", "x"]]) });
  equal(labels["io.kubernetes.pod.name"], "other");
  assert(Object.hasOwn(labels, "__proto__"));
  equal(JSON.parse(JSON.stringify(labels))["__proto__"], "x");
});

Deno.test("sandboxSpec() honours the older seccomp field where the newer is absent", () => {
  const choice = (seccompProfilePath: string): unknown => spec(security({ seccompProfilePath })).security.seccomp;
  equal(choice(""), undefined);
  deepEqual(choice("runtime/default"), { kind: "runtimeDefault" });
  deepEqual(choice("docker/default"), { kind: "runtimeDefault" });
  deepEqual(choice("unconfined"), { kind: "unconfined" });
  deepEqual(choice("localhost//etc/a.json"), { kind: "localhost", ref: "/etc/a.json" });
});

const metadata = { name: "a", namespace: "b", uid: "c", attempt: 0 };
const ids = [{ hostId: 1, containerId: 0, length: 1 }];

const refused: Array<[RegExp, Partial<PodSandboxConfig>]> = [
  [/^config\.metadata is missing/, { metadata: undefined }],
  [/metadata\.name is empty/, { metadata: { ...metadata, name: "" } }],
  [/metadata\.namespace is empty/, { metadata: { ...metadata, namespace: "" } }],
  [/metadata\.name .* not a name/, { metadata: { ...metadata, name: "../x" } }],
  [/metadata\.uid .* not a name/, { metadata: { ...metadata, uid: ".." } }],
  [/metadata\.name .*control/, { metadata: { ...metadata, name: "a\nb" } }],
  [/metadata\.namespace contains a NUL/, { metadata: { ...metadata, namespace: "a\0b" } }],
  [/hostname .*longer/, { hostname: "x".repeat(65) }],
  [/hostname .*blank/, { hostname: "a 127.0.0.1" }],
  [/hostname/, { hostname: "a\nb" }],
  [/log_directory .*not an absolute/, { logDirectory: "var/log" }],
  [/log_directory contains a NUL/, { logDirectory: "/var/\0" }],
  [/dns_config\.servers .*control/, { dnsConfig: { servers: ["1.1.1.1\noptions x"], searches: [], options: [] } }],
  [/dns_config\.searches .*control/, { dnsConfig: { servers: [], searches: ["a\n"], options: [] } }],
  [/dns_config\.options .*control/, { dnsConfig: { servers: [], searches: [], options: ["\r"] } }],
  [/container_port 65536/, port({ containerPort: 65536 })],
  [/host_port -1/, port({ hostPort: -1 })],
  [/host_ip "1\.2\.3"/, port({ hostIp: "1.2.3" })],
  [/protocol 7/, port({ protocol: 7 as Protocol })],
  [/labels .*4097 bytes/, { labels: new Map([["k", "é".repeat(2048)]]) }],
  [/labels has an empty key/, { labels: new Map([["", "x"]]) }],
  [/cgroup_parent .*leads out/, linux({ cgroupParent: "/a/../../b" })],
  [/cgroup_parent .*control/, linux({ cgroupParent: "/a\nb" })],
  [/sysctls "\.\.\/x"/, linux({ sysctls: new Map([["../x", "1"]]) })],
  [/sysctls "net\.\.\/x"/, linux({ sysctls: new Map([["net../x", "1"]]) })],
  [/sysctls\.net\.x .*control/, linux({ sysctls: new Map([["net.x", "1\n2"]]) })],
  [/overhead\.cpu_period/, linux({ overhead: { ...LinuxContainerResources.decode(none), cpuPeriod: 1n } })],
  [
    /resources\.oom_score_adj 1001/,
    linux({ resources: { ...LinuxContainerResources.decode(none), oomScoreAdj: 1001n } }),
  ],
  [/run_as_group is given without/, security({ runAsGroup: { value: 1n } })],
  [/run_as_user -1/, security({ runAsUser: { value: -1n } })],
  [/run_as_user 4294967295/, security({ runAsUser: { value: 4294967295n } })],
  [/run_as_group 18446744073/, security({ runAsUser: { value: 0n }, runAsGroup: { value: 18446744073n } })],
  [/supplemental_groups -5/, security({ supplementalGroups: [1n, -5n] })],
  [/selinux_options\.level/, security({ selinuxOptions: { user: "", role: "", type: "", level: "s0\n" } })],
  [/seccomp .*not an absolute/, security({ seccomp: { profileType: ProfileType.Localhost, localhostRef: "a.json" } })],
  [/seccomp.* is empty/, security({ seccomp: { profileType: ProfileType.Localhost, localhostRef: "" } })],
  [/seccomp profile type 9/, security({ seccomp: { profileType: 9 as ProfileType, localhostRef: "" } })],
  [/seccomp_profile_path "what"/, security({ seccompProfilePath: "what" })],
  [/apparmor.* is empty/, security({ apparmor: { profileType: ProfileType.Localhost, localhostRef: "localhost/" } })],
  [/network mode 1/, namespaces({ network: NamespaceMode.CONTAINER })],
  [/ipc mode 3/, namespaces({ ipc: NamespaceMode.TARGET })],
  [/pid cannot be TARGET/, namespaces({ pid: NamespaceMode.TARGET, targetId: "x" })],
  [/pid mode 12/, namespaces({ pid: 12 as NamespaceMode })],
  [/userns_options mode 1/, namespaces({ usernsOptions: { mode: NamespaceMode.CONTAINER, uids: [], gids: [] } })],
  [/userns_options of mode POD needs/, namespaces({ usernsOptions: { mode: NamespaceMode.POD, uids: ids, gids: [] } })],
  [/more than one range/, namespaces({ usernsOptions: { mode: 0, uids: [...ids, ...ids], gids: ids } })],
  [/although the mode is NODE/, namespaces({ usernsOptions: { mode: NamespaceMode.NODE, uids: ids, gids: [] } })],
  [/length 0/, namespaces({ usernsOptions: { mode: 0, uids: [{ hostId: 0, containerId: 0, length: 0 }], gids: ids } })],
  [
    /beyond 2\^32/,
    namespaces({ usernsOptions: { mode: 0, uids: ids, gids: [{ hostId: 2 ** 32 - 1, containerId: 0, length: 2 }] } }),
  ],
];

for (const [pattern, changes] of refused) {
  Deno.test(`sandboxSpec() refuses what fails with ${pattern.source}`, () => {
    throws(() => spec(changes), (error) => {
      assert(error instanceof InvalidArgumentError, String(error));
      assert(pattern.test(error.message), error.message);
      return true;
    });
  });
}

Deno.test("sandboxSpec() refuses a request without configuration, a handler with a newline, an unknown groups policy", () => {
  throws(() => sandboxSpec({ config: undefined, runtimeHandler: "" }), /^InvalidArgumentError: config is missing/);
  throws(() => sandboxSpec({ config: podConfig(), runtimeHandler: "a\n" }), InvalidArgumentError);
  const changes = security({ supplementalGroupsPolicy: 2 as SupplementalGroupsPolicy });
  throws(() => spec(changes), UnimplementedError);
});

Deno.test("sandboxSpec() accepts the limits themselves", () => {
  const { labels, security: given } = spec({
    labels: new Map([["k", "x".repeat(4095)]]),
    ...security({ runAsUser: { value: 4294967294n } }),
  });
  equal(labels["k"]?.length, 4095);
  equal(given.runAsUser, 4294967294);
});
