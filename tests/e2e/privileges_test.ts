import assert from "node:assert/strict";
import {
  Capability,
  LinuxContainerSecurityContext,
  type PodSandboxConfig,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
  SELinuxOption,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus, type Wish } from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

function secured(fields: Security): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, fields) };
    },
  };
}

const capabilities = (fields: Partial<Capability>): Security => ({ capabilities: message(Capability, fields) });
const bit = (number: number): bigint => 1n << BigInt(number);
/** Bits of linux/capability.h. */
const [CHOWN, KILL, NET_BIND_SERVICE, NET_RAW] = [bit(0), bit(5), bit(10), bit(13)];
/** crio.conf's default set. */
const DEFAULTS = 0x5fbn;

/** Where AppArmor is, a profile that is not loaded is refused for that reason. */
const hasAppArmor = await Deno.readTextFile("/sys/module/apparmor/parameters/enabled")
  .then((text) => text.startsWith("Y"), () => false);

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: processes may do what their request says and nothing else`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const sets = async (id: string): Promise<Record<string, bigint>> => {
      const status = await procStatus(await pidOf(lab, id));
      const names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
      return Object.fromEntries(names.map((name) => [name, BigInt(`0x${status.get(name)}`)]));
    };
    const all = BigInt(`0x${(await procStatus(Deno.pid)).get("CapBnd")}`);

    await t.step("capabilities: added, dropped, all, all but one, in any spelling", async () => {
      const pod = await PodUnderTest.run(lab, "caps");
      const effective = async (fields: Partial<Capability>): Promise<bigint | undefined> =>
        (await sets(await pod.start(secured(capabilities(fields)))))["CapEff"];
      assert.equal(await effective({}), DEFAULTS);
      assert.equal(
        await effective({ addCapabilities: ["net_raw"], dropCapabilities: ["CAP_KILL"] }),
        DEFAULTS - KILL + NET_RAW,
      );
      assert.equal(await effective({ dropCapabilities: ["all"] }), 0n);
      assert.equal(await effective({ dropCapabilities: ["ALL"], addCapabilities: ["CHOWN"] }), CHOWN);
      assert.equal(await effective({ addCapabilities: ["ALL"], dropCapabilities: ["NET_RAW"] }), all - NET_RAW);
      await assert.rejects(effective({ addCapabilities: ["FLY"] }), /capability "FLY" is not known/);
      await pod.remove();
    });

    await t.step("ambient capabilities reach a process that is not root", async () => {
      const pod = await PodUnderTest.run(lab, "ambient");
      const user = { runAsUser: { value: 1234n } };
      const plain = await sets(await pod.start(secured(user)));
      assert.deepEqual([plain["CapEff"], plain["CapAmb"], plain["CapBnd"]], [0n, 0n, DEFAULTS]);
      const fields = { ...user, ...capabilities({ addAmbientCapabilities: ["NET_BIND_SERVICE"] }) };
      const raised = await sets(await pod.start(secured(fields)));
      assert.deepEqual([raised["CapEff"], raised["CapAmb"]], [NET_BIND_SERVICE, NET_BIND_SERVICE]);
      await pod.remove();
    });

    await t.step("noNewPrivs is set where it is asked for, in exec too", async () => {
      const pod = await PodUnderTest.run(lab, "new-privs");
      const say = ["busybox", "grep", "NoNewPrivs", "/proc/self/status"];
      assert.match(await execText(lab, await pod.start(secured({ noNewPrivs: true })), ...say), /:\t1$/);
      assert.match(await execText(lab, await pod.start(secured({})), ...say), /:\t0$/);
      await pod.remove();
    });

    await t.step("masked paths are empty and read-only ones cannot be written, unless privileged", async () => {
      const pod = await PodUnderTest.run(lab, "paths", {
        change: (config: PodSandboxConfig) => {
          if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
        },
      });
      const paths = {
        maskedPaths: ["/proc/version", "/proc/acpi", "/proc/tty"],
        readonlyPaths: ["/proc/sys", "/home"],
      };
      const id = await pod.start(secured(paths));
      const mounts = await Deno.readTextFile(`/proc/${await pidOf(lab, id)}/mountinfo`);
      const optionsOf = (path: string): string | undefined =>
        mounts.split("\n").map((line) => line.split(" ")).findLast((fields) => fields[4] === path)?.[5];
      assert.match(optionsOf("/proc/sys") ?? "", /^ro\b/);
      assert.match(optionsOf("/home") ?? "", /^ro\b/);
      assert.equal(await execText(lab, id, "cat", "/proc/version"), "");
      assert.equal(await execText(lab, id, "ls", "/proc/tty"), "");
      assert.match(await execText(lab, id, "touch", "/home/x"), /Read-only file system/);
      const open = await pod.start(secured({ ...paths, privileged: true }));
      assert.match(await execText(lab, open, "cat", "/proc/version"), /Linux/);
      assert.equal(await execText(lab, open, "touch", "/home/x"), "");
      const plain = await pod.start(secured({}));
      assert.match(await execText(lab, plain, "cat", "/proc/version"), /Linux/);
      await pod.remove();
    });

    await t.step("profiles of modules that the node lacks: a name is refused, the default is not", async () => {
      const pod = await PodUnderTest.run(lab, "modules");
      const named = message(SecurityProfile, { profileType: ProfileType.Localhost, localhostRef: "no-such-profile" });
      const refusal = hasAppArmor ? /no-such-profile is not loaded/ : /no-such-profile: AppArmor is not enabled/;
      await assert.rejects(pod.create(secured({ apparmor: named })), refusal);
      await assert.rejects(pod.create(secured({ apparmorProfile: "localhost/no-such-profile" })), refusal);
      const selinuxOptions = message(SELinuxOption, { level: "s0:c1,c2" });
      const kinds = [ProfileType.RuntimeDefault, ProfileType.Unconfined];
      for (const profileType of kinds) {
        await pod.start(secured({ apparmor: message(SecurityProfile, { profileType }), selinuxOptions }));
      }
      await pod.remove();
    });

    await t.step("nothing is left", async () => {
      assert.deepEqual(await lab.leaks(), []);
    });
  });
}
