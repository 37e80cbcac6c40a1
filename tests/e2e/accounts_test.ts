import assert from "node:assert/strict";
import {
  LinuxContainerSecurityContext,
  NamespaceMode,
  NamespaceOption,
  SupplementalGroupsPolicy,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, statusOf, type Wish } from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

function secured(fields: Security, change: NonNullable<Wish["change"]> = () => {}): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, fields) };
      change(config);
    },
  };
}

function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

/** Minimal installations have no tzdata. */
const hasZone = await Deno.stat("/etc/localtime").then(() => true, () => false);

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: containers know who they are, where and when`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();

    await t.step(
      "the groups of a process are those of the request with the primary one, told by the status too",
      async () => {
        const pod = await PodUnderTest.run(lab, "groups");
        const id = await pod.start(secured({
          runAsUser: { value: 1234n },
          runAsGroup: { value: 2345n },
          supplementalGroups: [3456n, 99n],
          supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict,
        }));
        const status = await procStatus(await pidOf(lab, id));
        assert.deepEqual(status.get("Groups")?.trim().split(" ").sort(), ["2345", "3456", "99"]);
        const { linux } = (await statusOf(lab, id)).user ?? {};
        assert.deepEqual([linux?.uid, linux?.gid, linux?.supplementalGroups], [1234n, 2345n, [99n, 2345n, 3456n]]);
        await pod.remove();
      },
    );

    await t.step(
      "a user that the image does not know has a name, a group and a home; nobody else is changed",
      async () => {
        const pod = await PodUnderTest.run(lab, "names");
        const id = await pod.start(secured({ runAsUser: { value: 1234n }, runAsGroup: { value: 2345n } }, (config) => {
          config.workingDir = "/tmp";
        }));
        assert.equal(await execText(lab, id, "id", "-un"), "1234");
        assert.equal(await execText(lab, id, "id", "-gn"), "2345");
        assert.equal(await execText(lab, id, ...shell("echo $HOME")), "/tmp");
        assert.match(await execText(lab, id, "cat", "/etc/passwd"), /^root:x:0:0:[^]*^1234:x:1234:2345:/m);
        const root = await pod.start({});
        assert.doesNotMatch(await execText(lab, root, "cat", "/etc/passwd"), /1234/);
        assert.equal(await execText(lab, root, ...shell("echo $HOME")), "/root");
        await pod.remove();
      },
    );

    await t.step({
      name: "the mark of a container and the node's time zone are there",
      ignore: !hasZone,
      fn: async () => {
        await Deno.writeTextFile(`${lab.directory}/crio.conf.d/10-zone.conf`, '[crio.runtime]\ntimezone = "Local"\n');
        await lab.daemon.stop();
        await lab.daemon.start();
        const pod = await PodUnderTest.run(lab, "marks");
        const id = await pod.start({});
        assert.equal(await execText(lab, id, "stat", "-c", "%s %F", "/run/.containerenv"), "0 regular empty file");
        const zone = await Deno.readFile("/etc/localtime");
        assert.equal(await execText(lab, id, "wc", "-c", "/etc/localtime"), `${zone.length} /etc/localtime`);
        await pod.remove();
      },
    });

    await t.step("a sysctl of a namespace that is the node's changes nothing", async () => {
      const [before, setting] = [await Deno.readTextFile("/proc/sys/net/core/somaxconn"), "net.core.somaxconn"];
      const pod = await PodUnderTest.run(lab, "sysctls", {
        change: (config) => {
          config.hostname = "";
          config.linux?.sysctls.set(setting, "77").set("kernel.shm_rmid_forced", "1");
          if (config.linux?.securityContext === undefined) return;
          config.linux.securityContext.namespaceOptions = message(NamespaceOption, {
            network: NamespaceMode.NODE,
            pid: NamespaceMode.CONTAINER,
          });
        },
      });
      const namespaceOptions = message(NamespaceOption, { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER });
      const id = await pod.start(secured({ namespaceOptions }));
      assert.equal(await Deno.readTextFile("/proc/sys/net/core/somaxconn"), before);
      assert.equal(await execText(lab, id, "cat", "/proc/sys/kernel/shm_rmid_forced"), "1");
      await pod.remove();
      const own = await PodUnderTest.run(lab, "own", {
        change: (config) => void config.linux?.sysctls.set(setting, "77"),
      });
      assert.equal(await execText(lab, await own.start({}), "cat", "/proc/sys/net/core/somaxconn"), "77");
      await own.remove();
    });

    await t.step("nothing is left", async () => {
      assert.deepEqual(await lab.leaks(), []);
    });
  });
}
