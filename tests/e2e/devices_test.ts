import assert from "node:assert/strict";
import {
  CDIDevice,
  type ContainerConfig,
  Device,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  type PodSandboxConfig,
} from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { execText, PodUnderTest, shell, type Wish } from "./harness/tries.ts";

type Security = Parameters<typeof message<LinuxContainerSecurityContext>>[1];

/** Any host has it, no container gets it by itself. */
const DEVICE = "/dev/loop-control";
const NUMBER = "a:ed";

function config(directory: string): string {
  const handler = (name: string, path: string, more: string): string =>
    `[crio.runtime.runtimes.${name}]\nruntime_path = "${path}"\nruntime_root = "${directory}/${path}"\n${more}\n`;
  return `[crio.runtime]
additional_devices = ["${DEVICE}:/dev/added:r"]
allowed_devices = ["/dev/fuse", "${DEVICE}"]
device_ownership_from_security_context = true
cdi_spec_dirs = ["${directory}/cdi", "${directory}/cdi-late"]
${["crun", "runc"].map((name) => handler(name, name, 'allowed_annotations = ["devices.crio.io"]')).join("")}
${["crun", "runc"].map((name) => handler(`${name}-bare`, name, "privileged_without_host_devices = true")).join("")}
`;
}

function wish(devices: ReadonlyArray<Partial<Device>>, security: Security = {}): Wish {
  return {
    change: (request: ContainerConfig): void => {
      request.devices = devices.map((device) => message(Device, { permissions: "rwm", ...device }));
      request.linux = {
        resources: undefined,
        securityContext: message(LinuxContainerSecurityContext, security),
      };
    },
  };
}

function privileged(request: PodSandboxConfig): void {
  const security = request.linux?.securityContext;
  if (request.linux === undefined || security === undefined) return;
  request.linux.securityContext = message(LinuxSandboxSecurityContext, { ...security, privileged: true });
}

/** Devices of two files: the second one, in YAML and of the later directory, wins. */
async function writeCdi(directory: string): Promise<void> {
  await Deno.mkdir(`${directory}/cdi`);
  await Deno.mkdir(`${directory}/cdi-late`);
  await Deno.mkdir(`${directory}/cdi-data`);
  await Deno.writeTextFile(`${directory}/cdi-data/file`, "from the node");
  const hook = `${directory}/hook`;
  await Deno.writeTextFile(hook, `#!/bin/sh\nsed 's/.*"id": *"\\([0-9a-f]*\\)".*/\\1/' > ${directory}/hook-ran\n`, {
    mode: 0o755,
  });
  const one = {
    env: ["ONE=one"],
    deviceNodes: [{ path: "/dev/cdi-one", hostPath: DEVICE, permissions: "r", fileMode: 0o640 }],
    mounts: [{ hostPath: `${directory}/cdi-data`, containerPath: "/cdi", options: ["ro", "bind"] }],
    hooks: [{ hookName: "createRuntime", path: hook, args: ["hook"] }],
    additionalGids: [4321],
  };
  const devices = [{ name: "one", containerEdits: one }, { name: "two", containerEdits: { env: ["TWO=early"] } }];
  const document = {
    cdiVersion: "0.7.0",
    kind: "vendor.test/dev",
    devices,
    containerEdits: { env: ["COMMON=common"] },
  };
  await Deno.writeTextFile(`${directory}/cdi/vendor.json`, JSON.stringify(document));
  const yaml =
    `cdiVersion: 0.5.0\nkind: vendor.test/dev\ndevices:\n- name: two\n  containerEdits:\n    env: [TWO=late]\n`;
  await Deno.writeTextFile(`${directory}/cdi-late/vendor.yaml`, yaml);
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: a container has the devices that it may have`, async (t) => {
    await using lab = await Lab.start({ defaultRuntime: runtime, dropIn: config });
    await lab.pull();
    const stat = (id: string, path: string, format = "%t:%T"): Promise<string> =>
      execText(lab, id, "stat", "-c", format, path);
    const tries = (id: string, script: string): Promise<string> =>
      execText(lab, id, ...shell(`${script} && echo done`));

    await t.step("a requested one opens with its permissions and no others, for any user", async () => {
      const pod = await PodUnderTest.run(lab, "requested");
      const mine = { hostPath: DEVICE, containerPath: "/dev/mine", permissions: "r" };
      const id = await pod.start(wish([mine], { runAsUser: { value: 1000n }, runAsGroup: { value: 2000n } }));
      assert.equal(await stat(id, "/dev/mine"), NUMBER);
      // The configuration gives requested devices to the user of the request.
      assert.equal(await stat(id, "/dev/mine", "%u:%g:%a"), "1000:2000:666");
      assert.equal(await tries(id, ": < /dev/mine"), "done");
      assert.match(await tries(id, ": > /dev/mine"), /Operation not permitted/);
      const stranger = await pod.start(wish([{ ...mine, permissions: "rw" }]));
      assert.equal(await stat(stranger, "/dev/mine", "%u:%g"), "0:0");
      assert.equal(await tries(stranger, ": > /dev/mine"), "done");
      const missing = pod.create(wish([{ ...mine, hostPath: "/dev/no-such-device" }]));
      await assert.rejects(missing, /\/dev\/no-such-device does not exist/);
      await pod.remove();
    });

    await t.step("a directory gives the devices below it, a link the one it leads to", async () => {
      const directory = `${lab.directory}/devices`;
      await Deno.mkdir(`${directory}/below`, { recursive: true });
      await Deno.symlink(DEVICE, `${directory}/link`);
      const { success } = await new Deno.Command("mknod", { args: [`${directory}/below/one`, "c", "10", "237"] })
        .output();
      assert.ok(success);
      const pod = await PodUnderTest.run(lab, "directories");
      const id = await pod.start(wish([
        { hostPath: directory, containerPath: "/dev/all", permissions: "r" },
        { hostPath: `${directory}/link`, containerPath: "/dev/linked", permissions: "r" },
      ]));
      assert.equal(await stat(id, "/dev/all/below/one"), NUMBER);
      assert.match(await stat(id, "/dev/all/link"), /No such file/);
      assert.equal(await stat(id, "/dev/linked"), NUMBER);
      assert.equal(await tries(id, ": < /dev/all/below/one"), "done");
      await pod.remove();
    });

    await t.step("the configuration gives one to every container", async () => {
      const pod = await PodUnderTest.run(lab, "added");
      const id = await pod.start({});
      assert.equal(await stat(id, "/dev/added"), NUMBER);
      assert.equal(await tries(id, ": < /dev/added"), "done");
      assert.match(await tries(id, ": > /dev/added"), /Operation not permitted/);
      await pod.remove();
    });

    await t.step("an annotation gives what is allowed, where its handler listens to it", async () => {
      const annotated = (value: string) => (request: PodSandboxConfig): void =>
        void request.annotations.set("devices.crio.io", value);
      const pod = await PodUnderTest.run(lab, "annotated", { change: annotated(`${DEVICE}:/dev/asked:rw`) });
      const id = await pod.start({});
      assert.equal(await stat(id, "/dev/asked"), NUMBER);
      assert.equal(await tries(id, ": > /dev/asked"), "done");
      await pod.remove();
      const deaf = await PodUnderTest.run(lab, "deaf", {
        runtimeHandler: `${runtime}-bare`,
        change: annotated(`${DEVICE}:/dev/asked:rw`),
      });
      assert.match(await stat(await deaf.start({}), "/dev/asked"), /No such file/);
      await deaf.remove();
      const greedy = await PodUnderTest.run(lab, "greedy", { change: annotated("/dev/kmsg") });
      await assert.rejects(greedy.create({}), /\/dev\/kmsg is not among allowed_devices/);
      await greedy.remove();
    });

    await t.step("a privileged one has all of them, unless its handler says otherwise", async () => {
      const pod = await PodUnderTest.run(lab, "all", { change: privileged });
      const id = await pod.start(wish([], { privileged: true }));
      assert.equal(await stat(id, DEVICE), NUMBER);
      assert.equal(await tries(id, `: > ${DEVICE}`), "done");
      await pod.remove();
      const bare = await PodUnderTest.run(lab, "bare", { runtimeHandler: `${runtime}-bare`, change: privileged });
      const without = await bare.start(wish([], { privileged: true }));
      assert.match(await stat(without, DEVICE), /No such file/);
      // Nor may it use one that it makes by itself.
      assert.match(await tries(without, "mknod /tmp/d c 10 229 && : < /tmp/d"), /Operation not permitted/);
      await bare.remove();
    });

    await t.step("CDI devices bring nodes, variables, mounts, groups and hooks", async () => {
      await writeCdi(lab.directory);
      const pod = await PodUnderTest.run(lab, "cdi");
      const named = (...names: string[]): Wish => ({
        change: (request): void => {
          request.CDIDevices = names.map((name) => message(CDIDevice, { name }));
        },
      });
      const id = await pod.start(named("vendor.test/dev=one"));
      assert.equal(await stat(id, "/dev/cdi-one", "%t:%T %a"), `${NUMBER} 640`);
      assert.equal(await tries(id, ": < /dev/cdi-one"), "done");
      assert.match(await tries(id, ": > /dev/cdi-one"), /Operation not permitted/);
      assert.equal(
        await execText(lab, id, ...shell("echo $COMMON $ONE; cat /cdi/file; id -G")),
        "common one\nfrom the node0 4321",
      );
      assert.match(await tries(id, ": > /cdi/file"), /Read-only file system/);
      assert.equal((await Deno.readTextFile(`${lab.directory}/hook-ran`)).trim(), id);
      // The later directory's file, and an annotation as device plugins write it.
      const annotated = await pod.start({
        change: (request): void => void request.annotations.set("cdi.k8s.io/plugin", "vendor.test/dev=two"),
      });
      assert.equal(await execText(lab, annotated, ...shell("echo $TWO")), "late");
      // One of the pod's user is not listened to.
      const pods = await PodUnderTest.run(lab, "cdi-pod", {
        change: (request): void => void request.annotations.set("cdi.k8s.io/plugin", "vendor.test/dev=two"),
      });
      assert.equal(await execText(lab, await pods.start({}), ...shell("echo [$TWO]")), "[]");
      await pods.remove();
      await assert.rejects(
        pod.create(named("vendor.test/dev=none")),
        /unresolvable CDI devices vendor\.test\/dev=none/,
      );
      await assert.rejects(pod.create(named("none")), /CDI device "none".*vendor\.example/);
      await pod.remove();
    });

    await t.step("nothing is left", async () => assert.deepEqual(await lab.leaks(), []));
  });
}
