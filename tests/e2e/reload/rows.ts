/**
 * One row for each option that a reload applies: what is written, and what is seen of it before and afterwards.
 *
 * @module
 */
import {
  CDIDevice,
  Device,
  Int64Value,
  Mount,
  NamespaceMode,
  SecurityProfile,
  SecurityProfile_ProfileType,
} from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { execText } from "../harness/tries.ts";
import { type ReloadScene, secured } from "./scene.ts";

export interface Row {
  /** The options that it is about; in `crio.runtime` unless a dot is in it. */
  readonly options: string;
  /** The drop-in file, given everything's directory. */
  readonly toml: (directory: string, scene: ReloadScene) => string;
  readonly prepare?: (directory: string) => Promise<void>;
  readonly observe: (scene: ReloadScene) => Promise<unknown>;
  /** What is seen before; a RegExp for texts. */
  readonly before: unknown;
  readonly after: unknown;
}

const runtime = (lines: string): () => string => () => `[crio.runtime]\n${lines}\n`;
const RUNTIME_DEFAULT = secured({
  seccomp: message(SecurityProfile, { profileType: SecurityProfile_ProfileType.RuntimeDefault }),
});
const LOG_ONLY = JSON.stringify({ defaultAction: "SCMP_ACT_LOG", syscalls: [] });
const annotate = (key: string, value: string) => ({ pod: annotated(key, value), container: annotated(key, value) });
const DEVICE = annotate("devices.crio.io", "/dev/zero:/dev/asked:rwm");

function annotated(key: string, value: string): (config: { annotations: Map<string, string> }) => void {
  return ({ annotations }) => void annotations.set(key, value);
}

export const ROWS: readonly Row[] = [
  {
    options: "default_ulimits",
    toml: runtime('default_ulimits = ["nofile=111:222"]'),
    observe: async (scene) =>
      (await scene.spec()).process.rlimits?.find(({ type }) => type === "RLIMIT_NOFILE")?.soft ?? "inherited",
    before: "inherited",
    after: 111,
  },
  {
    options: "default_env",
    toml: runtime('default_env = ["FLAVOUR=sweet"]'),
    observe: async (scene) => (await scene.spec()).process.env.includes("FLAVOUR=sweet"),
    before: false,
    after: true,
  },
  {
    options: "default_capabilities add_inheritable_capabilities",
    toml: runtime('default_capabilities = ["CHOWN"]\nadd_inheritable_capabilities = true'),
    observe: async (scene) => {
      const { bounding, inheritable = [] } = (await scene.spec()).process.capabilities;
      return [bounding.length, inheritable];
    },
    before: [9, []],
    after: [1, ["CAP_CHOWN"]],
  },
  {
    options: "default_sysctls",
    toml: runtime('default_sysctls = ["kernel.shm_rmid_forced=1"]'),
    observe: (scene) =>
      scene.inPod(
        {},
        async (pod) => await execText(scene.lab, await pod.start({}), "cat", "/proc/sys/kernel/shm_rmid_forced"),
      ),
    before: "0",
    after: "1",
  },
  {
    options: "allowed_devices",
    toml: runtime('allowed_devices = ["/dev/zero"]'),
    observe: (scene) => scene.refusal(DEVICE),
    before: /allowed_devices/,
    after: "created",
  },
  {
    options: "additional_devices",
    toml: runtime('additional_devices = ["/dev/null:/dev/extra:rwm"]'),
    observe: async (scene) => ((await scene.spec()).linux.devices ?? []).some(({ path }) => path === "/dev/extra"),
    before: false,
    after: true,
  },
  {
    options: "device_ownership_from_security_context",
    toml: runtime("device_ownership_from_security_context = true"),
    observe: async (scene) => {
      const spec = await scene.spec({
        container: (config) => {
          secured({ runAsUser: message(Int64Value, { value: 1000n }) })(config);
          config.devices.push(message(Device, { hostPath: "/dev/null", containerPath: "/dev/mine", permissions: "r" }));
        },
      });
      return spec.linux.devices?.find(({ path }) => path === "/dev/mine")?.uid ?? 0;
    },
    before: 0,
    after: 1000,
  },
  {
    options: "hooks_dir",
    prepare: async (directory) => {
      await Deno.mkdir(`${directory}/other-hooks`);
      const hook = {
        version: "1.0.0",
        hook: { path: "/bin/sh", args: ["sh", "-c", "cat >/dev/null"] },
        when: { always: true },
        stages: ["prestart"],
      };
      await Deno.writeTextFile(`${directory}/other-hooks/one.json`, JSON.stringify(hook));
    },
    toml: (directory) => `[crio.runtime]\nhooks_dir = ["${directory}/other-hooks"]\n`,
    observe: async (scene) => ((await scene.spec()).hooks?.["prestart"] ?? []).map(({ path }) => path),
    before: [],
    after: ["/bin/sh"],
  },
  {
    options: "default_mounts_file",
    prepare: (directory) => Deno.writeTextFile(`${directory}/mounts.conf`, "/etc/hostname:/from-the-node\n"),
    toml: (directory) => `[crio.runtime]\ndefault_mounts_file = "${directory}/mounts.conf"\n`,
    observe: async (scene) => (await scene.spec()).mounts.some(({ destination }) => destination === "/from-the-node"),
    before: false,
    after: true,
  },
  {
    options: "pids_limit read_only timezone",
    toml: runtime('pids_limit = 99\nread_only = true\ntimezone = "Local"'),
    observe: async (scene) => {
      const { linux, root, mounts } = await scene.spec();
      return [linux.resources.pids?.limit ?? 0, root.readonly ?? false, mounts.some(isLocaltime)];
    },
    before: [0, false, false],
    after: [99, true, true],
  },
  {
    options: "infra_ctr_cpuset",
    toml: runtime('infra_ctr_cpuset = "0"'),
    observe: (scene) => {
      const pod = (config: { linux?: { securityContext?: { namespaceOptions?: { pid: NamespaceMode } } } }): void => {
        const options = config.linux?.securityContext?.namespaceOptions;
        if (options !== undefined) options.pid = NamespaceMode.POD;
      };
      return scene.inPod({ pod: pod as never }, async ({ id }) => {
        const bundle = `${scene.directory}/runroot/crio/sandboxes/${id}/infra/config.json`;
        return JSON.parse(await Deno.readTextFile(bundle)).linux.resources.cpu.cpus ?? "all";
      });
    },
    before: "all",
    after: "0",
  },
  {
    options: "absent_mount_sources_to_reject",
    toml: (directory) => `[crio.runtime]\nabsent_mount_sources_to_reject = ["${directory}/absent"]\n`,
    observe: async (scene) => {
      const hostPath = `${scene.directory}/absent`;
      await Deno.remove(hostPath).catch(() => {});
      const mount = message(Mount, { hostPath, containerPath: "/absent" });
      return await scene.refusal({ container: (config) => void config.mounts.push(mount) });
    },
    before: "created",
    after: /absent/,
  },
  {
    options: "crio.log_dir",
    toml: (directory) => `[crio]\nlog_dir = "${directory}/other-logs"\n`,
    observe: (scene) =>
      scene.inPod({ pod: (config) => config.logDirectory = "" }, async (pod) => {
        const containerId = await pod.create({});
        const { status } = await scene.lab.daemon.client.call("containerStatus", { containerId });
        return status?.logPath.slice(scene.directory.length).split("/")[1];
      }),
    before: "pods",
    after: "other-logs",
  },
  {
    options: "crio.image.pinned_images",
    toml: () => '[crio.image]\npinned_images = ["*busybox*"]\n',
    observe: (scene) => scene.isPinned(scene.lab.image),
    before: false,
    after: true,
  },
  {
    options: "crio.image.pause_image",
    toml: (_, { lab }) => `[crio.image]\npause_image = "${lab.image}"\n`,
    observe: async (scene) => {
      const { info } = await scene.lab.daemon.client.call("status", { verbose: true });
      const shown = JSON.parse(info.get("config") ?? "{}").sandboxImage === scene.lab.image;
      return [shown, await scene.isPinned(scene.lab.image)];
    },
    before: [false, false],
    after: [true, true],
  },
  {
    options: "seccomp_profile",
    prepare: (directory) => Deno.writeTextFile(`${directory}/log.json`, LOG_ONLY),
    toml: (directory) => `[crio.runtime]\nseccomp_profile = "${directory}/log.json"\n`,
    observe: async (scene) => (await scene.spec({ container: RUNTIME_DEFAULT })).linux.seccomp?.defaultAction,
    before: "SCMP_ACT_ERRNO",
    after: "SCMP_ACT_LOG",
  },
  {
    options: "privileged_seccomp_profile",
    prepare: (directory) => Deno.writeTextFile(`${directory}/log.json`, LOG_ONLY),
    toml: (directory) => `[crio.runtime]\nprivileged_seccomp_profile = "${directory}/log.json"\n`,
    observe: async (scene) => {
      const pod = (config: { linux?: { securityContext?: { privileged: boolean } } }): void => {
        if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
      };
      const spec = await scene.spec({ pod: pod as never, container: secured({ privileged: true }) });
      return spec.linux.seccomp?.defaultAction ?? "none";
    },
    before: "none",
    after: "SCMP_ACT_LOG",
  },
  {
    options: "rdt_config_file",
    prepare: (directory) =>
      Deno.writeTextFile(`${directory}/rdt.json`, '{"partitions":{"all":{"classes":{"gold":{}}}}}'),
    toml: (directory) => `[crio.runtime]\nrdt_config_file = "${directory}/rdt.json"\n`,
    observe: (scene) => scene.refusal(annotate("rdt.resources.beta.kubernetes.io/pod", "gold")),
    before: /rdt_config_file is not configured/,
    after: /there is no resctrl group/,
  },
  {
    options: "cdi_spec_dirs",
    prepare: async (directory) => {
      await Deno.mkdir(`${directory}/cdi`);
      const devices = [{ name: "one", containerEdits: { env: ["FROM_CDI=yes"] } }];
      await Deno.writeTextFile(
        `${directory}/cdi/x.json`,
        JSON.stringify({ cdiVersion: "0.6.0", kind: "test.io/x", devices }),
      );
    },
    toml: (directory) => `[crio.runtime]\ncdi_spec_dirs = ["${directory}/cdi"]\n`,
    observe: (scene) =>
      scene.refusal({
        container: (config) => void config.CDIDevices.push(message(CDIDevice, { name: "test.io/x=one" })),
      }),
    before: /unresolvable CDI devices/,
    after: "created",
  },
];

function isLocaltime({ destination }: { readonly destination: string }): boolean {
  return destination === "/etc/localtime";
}
