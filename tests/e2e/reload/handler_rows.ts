/** Rows about runtime handlers and workloads. */
import {
  Int64Value,
  LinuxContainerResources,
  SecurityProfile,
  SecurityProfile_ProfileType,
} from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { execText, shell } from "../harness/tries.ts";
import type { Row } from "./rows.ts";
import { type ReloadScene, secured } from "./scene.ts";

/** The monitor of a fresh container: what it was started with. */
async function monitor(scene: ReloadScene, runtimeHandler: string): Promise<Record<string, unknown>> {
  return await scene.inPod({ runtimeHandler }, async (pod) => {
    const id = await pod.create({});
    const found = scene.lab.daemon.processes().find(({ argv }) => argv.includes(id) && argv.includes("--exit-dir"));
    const argv = found?.argv ?? [];
    const environment = (await Deno.readTextFile(`/proc/${found?.pid}/environ`)).split("\0");
    return {
      program: argv[0]?.replace(/.*\//, ""),
      runtime: argv[argv.indexOf("-r") + 1]?.replace(/.*\//, ""),
      syncs: !argv.includes("--no-sync-log"),
      knows: environment.includes("TEST_MONITOR=1"),
    };
  });
}

async function umaskIn(
  scene: ReloadScene,
  pod: (config: { annotations: Map<string, string> }) => void,
): Promise<string> {
  return await scene.inPod({ pod }, async (one) => await execText(scene.lab, await one.start({}), ...shell("umask")));
}

export const HANDLER_ROWS: readonly Row[] = [
  {
    options: "default_runtime",
    toml: () => '[crio.runtime]\ndefault_runtime = "runc"\n',
    observe: async (scene) => {
      const { client } = scene.lab.daemon;
      const { runtimeHandlers } = await client.call("status", {});
      const pods = await scene.inPod({}, () => client.call("listPodSandbox", {}));
      const metrics = await scene.get(`${scene.directory}/metrics.sock`, "http://localhost/metrics");
      const lines = metrics.split("\n").filter((line) => line.startsWith("container_runtime_crio_default_runtime{"));
      // The handler of the empty name tells of the default's features; the list has its name too.
      return [runtimeHandlers.some(({ name }) => name === ""), pods.items[0]?.runtimeHandler, lines];
    },
    before: [true, "crun", ['container_runtime_crio_default_runtime{runtime="crun"} 1']],
    after: [true, "runc", ['container_runtime_crio_default_runtime{runtime="runc"} 1']],
  },
  {
    options: "runtimes.*",
    toml: (_, scene) => scene.handler("second"),
    observe: async (scene) => {
      const { runtimeHandlers } = await scene.lab.daemon.client.call("status", {});
      return [runtimeHandlers.some(({ name }) => name === "second"), await scene.refusal({ runtimeHandler: "second" })];
    },
    before: /second\S+ is not configured/,
    after: /true,"created"/,
  },
  {
    options: "runtimes.*.allowed_annotations",
    toml: (_, scene) => scene.handler("crun").replace('"devices.crio.io"', '"umask.crio.io"'),
    observe: (scene) => umaskIn(scene, ({ annotations }) => void annotations.set("umask.crio.io", "0027")),
    before: "0022",
    after: "0027",
  },
  {
    options: "runtimes.*.default_annotations",
    toml: (_, scene) => scene.handler("crun", 'default_annotations = { "umask.crio.io" = "0037" }'),
    observe: (scene) => umaskIn(scene, () => {}),
    before: "0022",
    after: "0037",
  },
  {
    options: "runtimes.*.container_min_memory",
    toml: (_, scene) => scene.handler("crun", 'container_min_memory = "64 MiB"'),
    observe: (scene) =>
      scene.refusal({
        container: (config) => {
          const resources = message(LinuxContainerResources, { memoryLimitInBytes: 32n * 1024n * 1024n });
          if (config.linux !== undefined) config.linux.resources = resources;
        },
      }),
    before: "created",
    after: /67108864|64 MiB/,
  },
  {
    options: "runtimes.*.runtime_path monitor_path monitor_env no_sync_log",
    prepare: async (directory) => {
      const { stdout } = await new Deno.Command("/bin/sh", { args: ["-c", "command -v conmon; command -v runc"] })
        .output();
      const [conmon = "", runc = ""] = new TextDecoder().decode(stdout).split("\n");
      await Deno.symlink(conmon, `${directory}/conmon2`);
      await Deno.symlink(runc, `${directory}/runc2`);
    },
    toml: (directory, scene) =>
      scene.handler(
        "runc",
        `monitor_path = "${directory}/conmon2"\nmonitor_env = ["TEST_MONITOR=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]\nno_sync_log = true`,
      ).replace('runtime_path = "runc"', `runtime_path = "${directory}/runc2"`),
    observe: (scene) => monitor(scene, "runc"),
    before: { program: "conmon", runtime: "runc", syncs: true, knows: false },
    after: { program: "conmon2", runtime: "runc2", syncs: false, knows: true },
  },
  {
    options: "runtimes.*.seccomp_profile",
    prepare: (directory) =>
      Deno.writeTextFile(`${directory}/own.json`, JSON.stringify({ defaultAction: "SCMP_ACT_LOG", syscalls: [] })),
    toml: (directory, scene) => scene.handler("crun", `seccomp_profile = "${directory}/own.json"`),
    observe: async (scene) => {
      const seccomp = message(SecurityProfile, { profileType: SecurityProfile_ProfileType.RuntimeDefault });
      return (await scene.spec({ container: secured({ seccomp }) })).linux.seccomp?.defaultAction;
    },
    before: "SCMP_ACT_ERRNO",
    after: "SCMP_ACT_LOG",
  },
  {
    options: "runtimes.*.privileged_without_host_devices",
    toml: (_, scene) => scene.handler("crun", "privileged_without_host_devices = true"),
    observe: async (scene) => {
      const pod = (config: { linux?: { securityContext?: { privileged: boolean } } }): void => {
        if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
      };
      const spec = await scene.spec({
        pod: pod as never,
        container: secured({ privileged: true, runAsUser: message(Int64Value, { value: 0n }) }),
      });
      return (spec.linux.devices ?? []).length > 5;
    },
    before: true,
    after: false,
  },
  {
    options: "workloads.*",
    toml: () =>
      `[crio.runtime.workloads.w]\nactivation_annotation = "test.io/w"\nannotation_prefix = "test.io"
[crio.runtime.workloads.w.resources]\ncpushares = 321\n`,
    observe: async (scene) => {
      const pod = ({ annotations }: { annotations: Map<string, string> }): void =>
        void annotations.set("test.io/w", "");
      return (await scene.spec({ pod })).linux.resources.cpu?.shares === 321;
    },
    before: false,
    after: true,
  },
];
