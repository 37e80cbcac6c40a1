import assert from "node:assert/strict";
import {
  Capability,
  LinuxContainerSecurityContext,
  NamespaceMode,
  NamespaceOption,
  type PodSandboxConfig,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, type Wish } from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

/** A wish with these security settings. */
function secured(fields: Security, command: readonly string[] = SLEEPER): Wish {
  return {
    command,
    change: (config) => {
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, fields) };
    },
  };
}

const profile = (profileType: ProfileType, localhostRef = ""): SecurityProfile =>
  message(SecurityProfile, { profileType, localhostRef });
const RUNTIME_DEFAULT = { seccomp: profile(ProfileType.RuntimeDefault) };
const SYS_ADMIN = { capabilities: message(Capability, { addCapabilities: ["SYS_ADMIN"] }) };

/** A privileged container needs a pod that is. */
const PRIVILEGED_POD = {
  change: (config: PodSandboxConfig): void => {
    if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
  },
};

function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: system calls are filtered as requests and crio.conf ask`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const written = async (name: string, rules: object[]): Promise<string> => {
      const path = `${lab.directory}/${name}.json`;
      await Deno.writeTextFile(path, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: rules }));
      return path;
    };
    const modeOf = async (id: string): Promise<string | undefined> =>
      (await procStatus(await pidOf(lab, id))).get("Seccomp");
    const localhost = (ref: string): Security => ({ seccomp: profile(ProfileType.Localhost, ref) });

    await t.step("RuntimeDefault filters, in exec too; Unconfined and nothing do not", async () => {
      const pod = await PodUnderTest.run(lab, "kinds", PRIVILEGED_POD);
      const id = await pod.start(secured(RUNTIME_DEFAULT));
      assert.equal(await modeOf(id), "2");
      assert.equal(await execText(lab, id, "busybox", "grep", "Seccomp:", "/proc/self/status"), "Seccomp:\t2");
      const legacy = await pod.start(secured({ seccompProfilePath: "runtime/default" }));
      assert.equal(await modeOf(legacy), "2");
      assert.equal(await modeOf(await pod.start(secured({ seccomp: profile(ProfileType.Unconfined) }))), "0");
      assert.equal(await modeOf(await pod.start(secured({}))), "0");
      assert.equal(await modeOf(await pod.start(secured({ ...RUNTIME_DEFAULT, privileged: true }))), "0");
      await pod.remove();
    });

    await t.step("RuntimeDefault keeps what needs a capability from those without it", async () => {
      const pod = await PodUnderTest.run(lab, "default");
      const id = await pod.start(secured(RUNTIME_DEFAULT));
      // A new user namespace needs no capability: only the filter stands against it.
      assert.match(await execText(lab, id, "busybox", "unshare", "-U", "true"), /Operation not permitted/);
      assert.match(await execText(lab, id, ...shell("busybox hostname other")), /Operation not permitted/);
      assert.equal(
        await execText(lab, id, ...shell("busybox mkdir /d && busybox chmod 700 /d && (true) && echo ok")),
        "ok",
      );
      const plain = await pod.start(secured({}));
      assert.equal(await execText(lab, plain, "busybox", "unshare", "-U", "true"), "");
      const admin = await pod.start(secured({ ...RUNTIME_DEFAULT, ...SYS_ADMIN }));
      assert.equal(await modeOf(admin), "2");
      assert.equal(await execText(lab, admin, "busybox", "unshare", "-U", "true"), "");
      assert.equal(await execText(lab, admin, ...shell("busybox hostname other && busybox hostname")), "other");
      await pod.remove();
    });

    await t.step("the process that holds a shared PID namespace is filtered as its pod asks", async () => {
      const namespaceOptions = message(NamespaceOption, { pid: NamespaceMode.POD });
      for (const [type, mode] of [[ProfileType.RuntimeDefault, "2"], [ProfileType.Unconfined, "0"]] as const) {
        const pod = await PodUnderTest.run(lab, `infra-${mode}`, {
          change: (config) => {
            if (config.linux?.securityContext === undefined) return;
            Object.assign(config.linux.securityContext, { namespaceOptions, seccomp: profile(type) });
          },
        });
        const id = await pod.start(secured({ namespaceOptions }));
        const text = await execText(lab, id, "busybox", "grep", "-E", "^(Name|Seccomp):", "/proc/1/status");
        assert.equal(text, `Name:\tpause\nSeccomp:\t${mode}`);
        await pod.remove();
      }
    });

    await t.step("a profile by path blocks what it says, also with the capability; conditions count", async () => {
      const blocked = await written("blocked", [
        { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errno: "EACCES" },
        { names: ["sethostname"], action: "SCMP_ACT_ERRNO" },
        { names: ["chmod", "fchmodat"], action: "SCMP_ACT_ERRNO", includes: { caps: ["CAP_SYS_ADMIN"] } },
      ]);
      const pod = await PodUnderTest.run(lab, "localhost");
      const id = await pod.start(secured({ ...localhost(blocked), ...SYS_ADMIN }));
      assert.match(await execText(lab, id, "busybox", "mkdir", "/d"), /Permission denied/);
      assert.match(await execText(lab, id, "busybox", "hostname", "other"), /Operation not permitted/);
      assert.match(await execText(lab, id, "busybox", "chmod", "700", "/bin"), /Operation not permitted/);
      const legacy = await pod.start(secured({ seccompProfilePath: `localhost/${blocked}` }));
      assert.match(await execText(lab, legacy, "busybox", "mkdir", "/d"), /Permission denied/);
      assert.equal(await execText(lab, legacy, "busybox", "chmod", "700", "/bin"), "");
      await pod.remove();
    });

    await t.step("a profile that is missing or wrong is refused, and says why; nothing of it stays", async () => {
      const pod = await PodUnderTest.run(lab, "refused");
      const broken = await written("broken", [{ names: ["mkdir"], action: "SCMP_ACT_DENY" }]);
      await assert.rejects(
        pod.create(secured(localhost(broken))),
        /syscalls\[0\]\.action "SCMP_ACT_DENY" is not an action/,
      );
      await assert.rejects(pod.create(secured(localhost("/no/such.json"))), /\/no\/such\.json is not on this node/);
      await pod.remove();
    });

    await t.step("a container whose first process the filter kills says so", async () => {
      const deadly = await written("deadly", [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL_PROCESS" }]);
      const pod = await PodUnderTest.run(lab, "killed");
      const { status } = await pod.output(secured(localhost(deadly), shell("exec busybox mkdir /d")));
      assert.deepEqual([status.exitCode, status.reason], [159, "seccomp killed"]);
      const { status: own } = await pod.output(secured({}, shell("exit 159")));
      assert.deepEqual([own.exitCode, own.reason], [159, "Error"]);
      await pod.remove();
    });

    await t.step("crio.conf names other profiles, for all, a handler and privileged containers", async () => {
      const [all, handler, privileged] = await Promise.all(
        ["all", "handler", "privileged"].map((word) =>
          written(word, [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: ERRORS[word] }])
        ),
      );
      const other = runtime === "crun" ? "runc" : "crun";
      await Deno.writeTextFile(
        `${lab.directory}/crio.conf.d/10-seccomp.conf`,
        `[crio.runtime]\nseccomp_profile = "${all}"\nprivileged_seccomp_profile = "${privileged}"\n` +
          `[crio.runtime.runtimes.${other}]\nseccomp_profile = "${handler}"\n`,
      );
      await lab.daemon.stop();
      await lab.daemon.start();
      const pod = await PodUnderTest.run(lab, "configured", PRIVILEGED_POD);
      const id = await pod.start(secured(RUNTIME_DEFAULT));
      assert.match(await execText(lab, id, "busybox", "mkdir", "/d"), /Read-only file system/);
      const strong = await pod.start(secured({ ...RUNTIME_DEFAULT, privileged: true }));
      assert.match(await execText(lab, strong, "busybox", "mkdir", "/d"), /No space left/);
      const there = await PodUnderTest.run(lab, "other", { runtimeHandler: other });
      assert.match(
        await execText(lab, await there.start(secured(RUNTIME_DEFAULT)), "busybox", "mkdir", "/d"),
        /Too many links/,
      );
      // The next container sees a change of the file.
      await Deno.writeTextFile(all ?? "", JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW" }));
      assert.equal(await execText(lab, await pod.start(secured(RUNTIME_DEFAULT)), "busybox", "mkdir", "/d"), "");
      await pod.remove();
      await there.remove();
    });

    await t.step("nothing is left", async () => {
      assert.deepEqual(await lab.leaks(), []);
    });
  });
}

/** EROFS, EMLINK, ENOSPC: each tells where the answer comes from. */
const ERRORS: Readonly<Record<string, number>> = { all: 30, handler: 31, privileged: 28 };
