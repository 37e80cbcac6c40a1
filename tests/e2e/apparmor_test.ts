import assert from "node:assert/strict";
import {
  LinuxContainerSecurityContext,
  type PodSandboxConfig,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, type Wish } from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

/** Read-only for those who are in it. */
const OWN = "crio-e2e-deny-write";
const OWN_TEXT = `profile ${OWN} flags=(attach_disconnected) {\n  file,\n  network,\n  signal,\n  deny /** w,\n}\n`;

function secured(fields: Security): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      config.linux = { resources: undefined, securityContext: message(LinuxContainerSecurityContext, fields) };
    },
  };
}

const profile = (profileType: ProfileType, localhostRef = ""): Security => ({
  apparmor: message(SecurityProfile, { profileType, localhostRef }),
});

async function parser(option: string, text: string): Promise<void> {
  const child = new Deno.Command("apparmor_parser", { args: ["-K", option], stdin: "piped", stderr: "null" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success } = await child.status;
  if (!success) throw new Error(`apparmor_parser ${option} failed`);
}

async function whyNot(): Promise<string | undefined> {
  const enabled = await Deno.readTextFile("/sys/module/apparmor/parameters/enabled").catch(() => "");
  if (!enabled.startsWith("Y")) return "AppArmor is not enabled here";
  const [has] = await Promise.all([new Deno.Command("which", { args: ["apparmor_parser"] }).output()]);
  return has.success ? undefined : "apparmor_parser is not installed";
}

const reason = await whyNot();
const title = reason === undefined ? "" : ` (skipped: ${reason})`;

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(
    { name: `${runtime}: AppArmor confines as requests ask${title}`, ignore: reason !== undefined },
    async (t) => {
      await using lab = await Lab.start({ defaultRuntime: runtime });
      await lab.pull();
      await using undo = new AsyncDisposableStack();
      await parser("-r", OWN_TEXT);
      undo.defer(() => parser("-R", OWN_TEXT));
      const labelOf = async (id: string): Promise<string> =>
        (await Deno.readTextFile(`/proc/${await pidOf(lab, id)}/attr/current`)).trim();

      await t.step("the default is crio-default, in exec too; unconfined and privileged are not confined", async () => {
        const pod = await PodUnderTest.run(lab, "default", {
          change: (config: PodSandboxConfig) => {
            if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
          },
        });
        const id = await pod.start(secured(profile(ProfileType.RuntimeDefault)));
        assert.equal(await labelOf(id), "crio-default (enforce)");
        assert.equal(await execText(lab, id, "cat", "/proc/self/attr/current"), "crio-default (enforce)");
        assert.match(await execText(lab, id, "/bin/sh", "-c", "touch /f && echo ok"), /ok/);
        assert.match(await execText(lab, id, "/bin/sh", "-c", "echo 1 > /proc/sysrq-trigger"), /denied|Read-only/);
        assert.equal(await labelOf(await pod.start(secured({}))), "crio-default (enforce)");
        assert.equal(await labelOf(await pod.start(secured(profile(ProfileType.Unconfined)))), "unconfined");
        assert.equal(await labelOf(await pod.start(secured({ privileged: true }))), "unconfined");
        await pod.remove();
      });

      await t.step("a profile by name confines, in both fields; one that is not loaded is refused", async () => {
        const pod = await PodUnderTest.run(lab, "named");
        for (const fields of [profile(ProfileType.Localhost, OWN), { apparmorProfile: `localhost/${OWN}` }]) {
          const id = await pod.start(secured(fields));
          assert.equal(await labelOf(id), `${OWN} (enforce)`);
          assert.match(await execText(lab, id, "touch", "/f"), /Permission denied/);
        }
        await assert.rejects(pod.create(secured(profile(ProfileType.Localhost, "no-such"))), /no-such is not loaded/);
        await pod.remove();
      });

      await t.step("the default is loaded again when somebody took it away", async () => {
        const pod = await PodUnderTest.run(lab, "again");
        await parser("-R", "profile crio-default {}\n");
        const id = await pod.start(secured(profile(ProfileType.RuntimeDefault)));
        assert.equal(await labelOf(id), "crio-default (enforce)");
        await pod.remove();
      });

      await t.step("nothing is left", async () => {
        assert.deepEqual(await lab.leaks(), []);
      });
    },
  );
}
