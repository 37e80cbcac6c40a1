import { deepEqual, ok as assert, throws } from "node:assert/strict";
import { InvalidArgumentError, UnimplementedError } from "../../../../src/base/errors.ts";
import { containerSpec } from "../../../../src/cri/convert/container_spec.ts";
import {
  type ContainerConfig,
  type Device,
  LinuxContainerResources,
  LinuxContainerSecurityContext,
  Mount,
  MountPropagation,
  NamespaceMode,
  NamespaceOption,
  SecurityProfile_ProfileType as ProfileType,
  Signal,
  type SupplementalGroupsPolicy,
  WindowsContainerConfig,
} from "../../../../src/cri/gen/api.ts";
import type { ContainerSpec } from "../../../../src/container/types.ts";
import { containerConfig, imageSpec } from "../../../fakes/cri_operations.ts";

const none = new Uint8Array();
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function spec(changes: Partial<ContainerConfig>): ContainerSpec {
  return containerSpec(containerConfig(changes));
}

function security(changes: Partial<LinuxContainerSecurityContext>): Partial<ContainerConfig> {
  return {
    linux: { resources: undefined, securityContext: { ...LinuxContainerSecurityContext.decode(none), ...changes } },
  };
}

function resources(changes: Partial<LinuxContainerResources>): Partial<ContainerConfig> {
  return { linux: { securityContext: undefined, resources: { ...LinuxContainerResources.decode(none), ...changes } } };
}

function mount(changes: Partial<Mount>): Partial<ContainerConfig> {
  return { mounts: [{ ...Mount.decode(none), containerPath: "/data", hostPath: "/srv", ...changes }] };
}

function device(changes: Partial<Device>): Partial<ContainerConfig> {
  return { devices: [{ hostPath: "/dev/fuse", containerPath: "/dev/fuse", permissions: "rwm", ...changes }] };
}

Deno.test("containerSpec() takes over every field", () => {
  const config: ContainerConfig = {
    metadata: { name: "main", attempt: 2 },
    image: {
      image: "sha256:abc",
      annotations: new Map([["a", "b"]]),
      userSpecifiedImage: "busybox:1",
      runtimeHandler: "runc",
      imageRef: "ignored",
    },
    command: ["/bin/sh", "-c"],
    args: ["echo $X", ""],
    workingDir: "/work",
    envs: [{ key: "X", value: text("é\nline=2") }, { key: "HOME", value: text("/root") }],
    mounts: [
      {
        containerPath: "/data",
        hostPath: "/srv/data",
        readonly: true,
        selinuxRelabel: true,
        propagation: MountPropagation.PROPAGATION_PRIVATE,
        uidMappings: [{ hostId: 1, containerId: 2, length: 3 }],
        gidMappings: [{ hostId: 4, containerId: 5, length: 6 }],
        recursiveReadOnly: true,
        image: undefined,
        imageSubPath: "",
      },
      {
        ...Mount.decode(none),
        containerPath: "/model",
        readonly: true,
        image: imageSpec("model:1"),
        imageSubPath: "/sub/dir",
      },
    ],
    devices: [{ containerPath: "", hostPath: "/dev/fuse", permissions: "" }],
    labels: new Map([["l", "1"]]),
    annotations: new Map([["n", "2"]]),
    logPath: "main/2.log",
    stdin: true,
    stdinOnce: true,
    tty: true,
    linux: {
      resources: {
        cpuPeriod: 100000n,
        cpuQuota: 50000n,
        cpuShares: 512n,
        memoryLimitInBytes: 1073741824n,
        oomScoreAdj: 999n,
        cpusetCpus: "0-2,7",
        cpusetMems: "0",
        hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
        unified: new Map([["memory.high", "100"]]),
        memorySwapLimitInBytes: 2147483648n,
      },
      securityContext: {
        capabilities: { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["ALL"], addAmbientCapabilities: ["CHOWN"] },
        privileged: true,
        namespaceOptions: {
          network: NamespaceMode.NODE,
          pid: NamespaceMode.TARGET,
          ipc: NamespaceMode.POD,
          targetId: "abc",
          usernsOptions: { mode: NamespaceMode.NODE, uids: [], gids: [] },
        },
        selinuxOptions: { user: "", role: "", type: "spc_t", level: "" },
        runAsUser: { value: 0n },
        runAsGroup: { value: 7n },
        runAsUsername: "",
        readonlyRootfs: true,
        supplementalGroups: [8n],
        supplementalGroupsPolicy: 1,
        noNewPrivs: true,
        maskedPaths: ["/proc/kcore"],
        readonlyPaths: ["/proc/sys"],
        seccomp: undefined,
        apparmor: undefined,
        apparmorProfile: "localhost/mine",
        seccompProfilePath: "runtime/default",
      },
    },
    windows: WindowsContainerConfig.decode(none),
    CDIDevices: [{ name: "vendor.com/gpu=0" }],
    stopSignal: Signal.SIGRTMINPLUS3,
  };
  deepEqual(
    containerSpec(config),
    {
      metadata: { name: "main", attempt: 2 },
      image: {
        image: "sha256:abc",
        userSpecifiedImage: "busybox:1",
        runtimeHandler: "runc",
        annotations: { a: "b" },
      },
      command: ["/bin/sh", "-c"],
      args: ["echo $X", ""],
      workingDir: "/work",
      env: [{ key: "X", value: "é\nline=2" }, { key: "HOME", value: "/root" }],
      mounts: [
        {
          containerPath: "/data",
          hostPath: "/srv/data",
          readonly: true,
          selinuxRelabel: true,
          propagation: "private",
          recursiveReadOnly: true,
          uidMaps: [{ hostId: 1, containerId: 2, length: 3 }],
          gidMaps: [{ hostId: 4, containerId: 5, length: 6 }],
        },
        {
          containerPath: "/model",
          hostPath: "",
          readonly: true,
          selinuxRelabel: false,
          propagation: "private",
          recursiveReadOnly: false,
          uidMaps: [],
          gidMaps: [],
          image: { reference: "model:1", subPath: "sub/dir" },
        },
      ],
      devices: [{ containerPath: "/dev/fuse", hostPath: "/dev/fuse", permissions: "rwm" }],
      cdiDevices: ["vendor.com/gpu=0"],
      labels: { l: "1" },
      annotations: { n: "2" },
      logPath: "main/2.log",
      stdin: true,
      stdinOnce: true,
      tty: true,
      resources: {
        cpuPeriodMicros: 100000,
        cpuQuotaMicros: 50000,
        cpuShares: 512,
        cpusetCpus: "0-2,7",
        cpusetMems: "0",
        memoryLimitBytes: 1073741824,
        memorySwapLimitBytes: 2147483648,
        oomScoreAdj: 999,
        hugepageLimits: [{ pageSize: "2MB", limitBytes: 0 }],
        unified: { "memory.high": "100" },
      },
      security: {
        privileged: true,
        capabilities: { add: ["NET_ADMIN"], drop: ["ALL"], addAmbient: ["CHOWN"] },
        namespaces: {
          user: "node",
          network: "node",
          ipc: "pod",
          pid: { kind: "target", containerId: "abc" },
        },
        selinux: { user: "", role: "", type: "spc_t", level: "" },
        runAsUser: 0,
        runAsGroup: 7,
        supplementalGroups: [8],
        supplementalGroupsPolicy: "strict",
        readonlyRootfs: true,
        noNewPrivs: true,
        maskedPaths: ["/proc/kcore"],
        readonlyPaths: ["/proc/sys"],
        seccomp: { kind: "runtimeDefault" },
        apparmor: { kind: "localhost", ref: "mine" },
      },
      stopSignal: "SIGRTMIN+3",
    } satisfies ContainerSpec,
  );
});

Deno.test("containerSpec() gives the CRI's defaults for what is absent", () => {
  const { security: given, resources: limits, stopSignal, logPath } = spec({});
  deepEqual(given, {
    privileged: false,
    capabilities: { add: [], drop: [], addAmbient: [] },
    namespaces: { network: "pod", ipc: "pod", pid: { kind: "pod" } },
    supplementalGroups: [],
    supplementalGroupsPolicy: "merge",
    readonlyRootfs: false,
    noNewPrivs: false,
    maskedPaths: [],
    readonlyPaths: [],
  });
  deepEqual([limits, stopSignal, logPath], [{}, undefined, ""]);
  deepEqual(spec(security({})).security, given);
});

Deno.test("containerSpec() prefers the newer profile fields", () => {
  const { seccomp, apparmor } = spec(security({
    seccomp: { profileType: ProfileType.Unconfined, localhostRef: "" },
    apparmor: { profileType: ProfileType.RuntimeDefault, localhostRef: "" },
    seccompProfilePath: "localhost//a",
    apparmorProfile: "nonsense",
  })).security;
  deepEqual([seccomp, apparmor], [{ kind: "unconfined" }, { kind: "runtimeDefault" }]);
});

Deno.test("containerSpec() accepts a group with a user name and no limit for quota and swap", () => {
  const { runAsGroup, runAsUserName } = spec(security({ runAsUsername: "www", runAsGroup: { value: 1n } })).security;
  deepEqual([runAsUserName, runAsGroup], ["www", 1]);
  const limits = spec(resources({ cpuQuota: -1n, memorySwapLimitInBytes: -1n, memoryLimitInBytes: 10n })).resources;
  deepEqual(limits, { cpuQuotaMicros: -1, memorySwapLimitBytes: -1, memoryLimitBytes: 10, oomScoreAdj: 0 });
});

const refused: Array<[RegExp, Partial<ContainerConfig>]> = [
  [/config\.metadata is missing/, { metadata: undefined }],
  [/metadata\.name is empty/, { metadata: { name: "", attempt: 0 } }],
  [/metadata\.name .*not a name/, { metadata: { name: "a/b", attempt: 0 } }],
  [/config\.image is missing/, { image: undefined }],
  [/image\.image is empty/, { image: imageSpec("") }],
  [/image\.image .*control/, { image: imageSpec("a\n") }],
  [/command contains a NUL/, { command: ["a\0"] }],
  [/args contains a NUL/, { args: ["", "\0"] }],
  [/working_dir .*not an absolute/, { workingDir: "work" }],
  [/envs "" is not the name/, { envs: [{ key: "", value: text("x") }] }],
  [/envs "A=B" is not the name/, { envs: [{ key: "A=B", value: text("x") }] }],
  [/envs\.A contains a NUL/, { envs: [{ key: "A", value: text("x\0") }] }],
  [/envs contains a NUL/, { envs: [{ key: "A\0", value: text("x") }] }],
  [/envs\.A is not UTF-8/, { envs: [{ key: "A", value: new Uint8Array([0xff]) }] }],
  [/HOME .*control/, { envs: [{ key: "HOME", value: text("/root\nevil:x:0:0::/:/bin/sh") }] }],
  [/labels .*4097 bytes/, { labels: new Map([["k".repeat(4096), "x"]]) }],
  [/log_path .*leads out/, { logPath: "../../etc/cron.d/x" }],
  [/log_path .*control/, { logPath: "a\nb" }],
  [/stop_signal 66/, { stopSignal: 66 as Signal }],
  [/CDI_devices is empty/, { CDIDevices: [{ name: "" }] }],
  [/mounts\[0\]\.container_path is empty/, mount({ containerPath: "" })],
  [/mounts\[0\]\.container_path .*not an absolute/, mount({ containerPath: "data" })],
  [/host_path is empty/, mount({ hostPath: "" })],
  [/host_path .*not an absolute/, mount({ hostPath: "srv" })],
  [/both a host_path and an image/, mount({ image: imageSpec("x") })],
  [/image_sub_path but no image/, mount({ imageSubPath: "x" })],
  [
    /image_sub_path .*leads out/,
    mount({ hostPath: "", readonly: true, image: imageSpec("x"), imageSubPath: "a/../.." }),
  ],
  [/propagation 3/, mount({ propagation: 3 as MountPropagation })],
  [/recursive_read_only needs readonly/, mount({ recursiveReadOnly: true })],
  [/needs private propagation/, mount({ recursiveReadOnly: true, readonly: true, propagation: 1 })],
  [/uidMappings has a range of length 0/, mount({ uidMappings: [{ hostId: 0, containerId: 0, length: 0 }] })],
  [/devices\[0\]\.host_path is empty/, device({ hostPath: "" })],
  [/container_path .*not an absolute/, device({ containerPath: "fuse" })],
  [/permissions "x"/, device({ permissions: "x" })],
  [/permissions "rr"/, device({ permissions: "rr" })],
  [/cpu_period 999/, resources({ cpuPeriod: 999n })],
  [/cpu_period 1000001/, resources({ cpuPeriod: 1000001n })],
  [/cpu_quota -2/, resources({ cpuQuota: -2n })],
  [/cpu_quota 9223372036854775807/, resources({ cpuQuota: 2n ** 63n - 1n })],
  [/cpu_shares -1/, resources({ cpuShares: -1n })],
  [/memory_limit_in_bytes -1/, resources({ memoryLimitInBytes: -1n })],
  [/memory_swap_limit_in_bytes -2/, resources({ memorySwapLimitInBytes: -2n })],
  [/swap_limit_in_bytes 5 is less/, resources({ memoryLimitInBytes: 6n, memorySwapLimitInBytes: 5n })],
  [/oom_score_adj -1001/, resources({ oomScoreAdj: -1001n })],
  [/cpuset_cpus "0-"/, resources({ cpusetCpus: "0-" })],
  [/cpuset_mems "0\\n"/, resources({ cpusetMems: "0\n" })],
  [/page size "2Mi"/, resources({ hugepageLimits: [{ pageSize: "2Mi", limit: 1n }] })],
  [/too large/, resources({ hugepageLimits: [{ pageSize: "2MB", limit: 2n ** 64n - 1n }] })],
  [/unified .*not a name/, resources({ unified: new Map([["../memory.max", "1"]]) })],
  [/unified.memory\.max .*control/, resources({ unified: new Map([["memory.max", "1\n2"]]) })],
  [/run_as_group is given without a user/, security({ runAsGroup: { value: 1n } })],
  [/both given/, security({ runAsUser: { value: 1n }, runAsUsername: "x" })],
  [/run_as_user -9223372036854775808/, security({ runAsUser: { value: -(2n ** 63n) } })],
  [/run_as_username .*control/, security({ runAsUsername: "a\nb" })],
  [/supplemental_groups 4294967296/, security({ supplementalGroups: [4294967296n] })],
  [/masked_paths .*not an absolute/, security({ maskedPaths: ["proc"] })],
  [/readonly_paths is empty/, security({ readonlyPaths: [""] })],
  [
    /add_capabilities is empty/,
    security({ capabilities: { addCapabilities: [""], dropCapabilities: [], addAmbientCapabilities: [] } }),
  ],
  [/apparmor_profile "x"/, security({ apparmorProfile: "x" })],
  [
    /target_id is empty/,
    security({ namespaceOptions: { ...NamespaceOption.decode(none), pid: NamespaceMode.TARGET } }),
  ],
];

for (const [pattern, changes] of refused) {
  Deno.test(`containerSpec() refuses what fails with ${pattern.source}`, () => {
    throws(() => spec(changes), (error) => {
      assert(error instanceof InvalidArgumentError, String(error));
      assert(pattern.test(error.message), error.message);
      return true;
    });
  });
}

Deno.test("containerSpec() refuses a request without configuration and an unknown groups policy", () => {
  throws(() => containerSpec(undefined), /^InvalidArgumentError: config is missing/);
  const changes = security({ supplementalGroupsPolicy: 2 as SupplementalGroupsPolicy });
  throws(() => spec(changes), UnimplementedError);
});

Deno.test("containerSpec() keeps messages short and free of what was secret", () => {
  const huge = { envs: [{ key: "A=".repeat(1_000_000), value: text("secret") }] };
  throws(() => spec(huge), (error) => {
    assert(error instanceof InvalidArgumentError);
    assert(error.message.length < 400);
    return true;
  });
  throws(() => spec({ envs: [{ key: "TOKEN", value: text("secret\0") }] }), (error) => {
    assert(!(error as Error).message.includes("secret"));
    return true;
  });
});
