import assert from "node:assert/strict";
import {
  ContainerState,
  LinuxContainerSecurityContext,
  type PodSandboxConfig,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { execText, exited, PodUnderTest, statusOf, until, type Wish } from "./harness/tries.ts";

const ANNOTATION = "seccomp-notifier-action.crio.io";

/** A container that makes a forbidden call at its start and then goes on. */
function forbidden(profile: string): Wish {
  return {
    command: [
      "/bin/sh",
      "-c",
      "trap 'exit 0' TERM; busybox mkdir /d; busybox mkdir /e; echo went on; sleep 1000 & wait",
    ],
    change: (config) => {
      const seccomp = message(SecurityProfile, { profileType: ProfileType.Localhost, localhostRef: profile });
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, { seccomp }) };
    },
  };
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: a pod can ask what its seccomp profile forbids`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await Deno.writeTextFile(
      `${lab.directory}/crio.conf.d/10-allowed.conf`,
      `[crio.runtime.runtimes.${runtime}]\nallowed_annotations = ["${ANNOTATION}"]\n`,
    );
    await lab.daemon.stop();
    await lab.daemon.start();
    await lab.pull();
    const profile = `${lab.directory}/profile.json`;
    const syscalls = [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errno: "EACCES" }];
    await Deno.writeTextFile(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls }));
    const asking = (action: string) => ({
      change: (config: PodSandboxConfig): void => void config.annotations.set(ANNOTATION, action),
    });
    const sockets = (): string[] => [...Deno.readDirSync(`${lab.directory}/seccomp`)].map(({ name }) => name);

    await t.step(
      "the calls are told and answered, in exec too; the container is stopped five seconds later",
      async () => {
        const pod = await PodUnderTest.run(lab, "stopped", asking("stop"));
        const id = await pod.start(forbidden(profile));
        const begin = performance.now();
        const said = await until("its output", async () => {
          const text = await pod.log(await statusOf(lab, id));
          return text.includes("went on") ? text : undefined;
        });
        assert.match(said, /mkdir: can't create directory '\/d': Function not implemented/);
        assert.match(await execText(lab, id, "busybox", "mkdir", "/f"), /Function not implemented/);
        assert.deepEqual(sockets(), [id]);
        const status = await exited(lab, id);
        assert.ok(performance.now() - begin > 4000, "it had five seconds");
        assert.deepEqual([status.exitCode, status.reason], [137, "seccomp killed"]);
        assert.match(status.message, /^Used forbidden syscalls: mkdir(at)? \(3x\)$/);
        await pod.remove();
        assert.deepEqual(sockets(), []);
      },
    );

    await t.step(
      "with another action it is told only; without the annotation the profile's own answer comes",
      async () => {
        const pod = await PodUnderTest.run(lab, "told", asking("log"));
        const id = await pod.start(forbidden(profile));
        await until("the log of the daemon", async () => {
          const text = await Deno.readTextFile(lab.daemon.logPath);
          return text.split("\n").some((line) => /forbidden system call: mkdir/.test(line) && line.includes(id)) ||
            undefined;
        });
        assert.equal((await statusOf(lab, id)).state, ContainerState.CONTAINER_RUNNING);
        const plain = await PodUnderTest.run(lab, "plain");
        const other = await plain.start(forbidden(profile));
        assert.match(await execText(lab, other, "busybox", "mkdir", "/f"), /Permission denied/);
        await pod.remove();
        await plain.remove();
      },
    );

    await t.step("nothing is left", async () => {
      assert.deepEqual(await lab.leaks(), []);
    });
  });
}
