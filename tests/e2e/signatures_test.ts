/** What the policy does not let in is refused over the CRI as the kubelet knows it: at the pull, and when it is used. */
import assert from "node:assert/strict";
import { ImageSpec, Mount } from "../../src/cri/gen/api.ts";
import { GpgHome } from "../fakes/signing/gpg.ts";
import { codeOf, message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { podConfig } from "./harness/pods.ts";
import { execText, PodUnderTest, type Wish } from "./harness/tries.ts";

const UNKNOWN = 2;

/** The kubelet looks at the beginning of the text, which it sees without the code for UNKNOWN only. */
async function refused(call: Promise<unknown>, pattern: RegExp): Promise<void> {
  await assert.rejects(call, (error: Error) => {
    assert.equal(codeOf(error), UNKNOWN, error.message);
    const { details } = Object(error.cause) as { details?: string };
    assert.match(details ?? error.message, /^SignatureValidationFailed: /);
    assert.match(error.message, pattern);
    return true;
  });
}

/** A home directory whose registries.d names the lookaside place in it. */
async function makeHome(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "signatures-" });
  await Deno.mkdir(`${directory}/.config/containers/registries.d`, { recursive: true });
  const text = `default-docker: {lookaside: "file://${directory}/lookaside"}\n`;
  await Deno.writeTextFile(`${directory}/.config/containers/registries.d/default.yaml`, text);
  return directory;
}

/** In the namespace `strict` images have to be signed, but for those of one repository. */
async function writeStrictPolicy({ directory, registry }: Lab, free: string): Promise<void> {
  const signed = [{ type: "signedBy", keyType: "GPGKeys", keyPath: `${directory}/keys.gpg` }];
  const docker = { [`${registry.host}/${free}`]: [{ type: "insecureAcceptAnything" }] };
  await Deno.writeTextFile(
    `${directory}/policies/strict.json`,
    JSON.stringify({ default: signed, transports: { docker } }),
  );
}

Deno.test("images are held to the policy of the pod's namespace", async (t) => {
  await using home = await GpgHome.make();
  const key = await home.addKey("one@example.com");
  const keyring = await home.export([key]);
  await using undo = new AsyncDisposableStack();
  const place = await makeHome();
  undo.defer(() => Deno.remove(place, { recursive: true }));
  await using lab = await Lab.start({
    environment: { HOME: place, DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` },
    dropIn: (directory) => `[crio.image]\nsignature_policy_dir = "${directory}/policies"\n`,
    prepare: async (directory): Promise<void> => {
      await Deno.mkdir(`${directory}/policies`);
      await Deno.writeFile(`${directory}/keys.gpg`, keyring);
    },
  });
  await writeStrictPolicy(lab, "bench/pause");
  const { client } = lab.daemon;
  const spec = (image: string): ImageSpec => message(ImageSpec, { image, userSpecifiedImage: image });
  const strictConfig = podConfig({ ...lab.pod("strict"), namespace: "strict" });
  const pullFor = (image: string): Promise<unknown> =>
    client.call("pullImage", { image: spec(image), sandboxConfig: strictConfig });
  const volume = `${lab.registry.host}/bench/nobody:1`;
  for (const image of [lab.image, volume]) await client.call("pullImage", { image: spec(image) });
  const pod = await PodUnderTest.run(lab, "strict", {
    change: (config) => Object.assign(config, strictConfig),
  });
  const withVolume: Wish = {
    change: (config) => {
      config.image = spec(lab.image);
      config.mounts = [message(Mount, { containerPath: "/volume", readonly: true, image: spec(volume) })];
    },
  };

  await t.step("a pod of another namespace has them", async () => {
    const other = await PodUnderTest.run(lab, "other");
    await other.start(withVolume);
    await client.call("removePodSandbox", { podSandboxId: other.id });
  });

  await t.step("what is not signed is neither pulled nor run", async () => {
    await refused(pullFor(lab.image), /busybox:1 has to be signedBy by the policy .*\/policies\/strict\.json/);
    await refused(pod.create({}), /busybox:1 has to be signedBy/);
    const { containers } = await client.call("listContainers", {});
    assert.deepEqual(containers, []);
  });

  await t.step("nor is it mounted as a volume", async () => {
    await writeStrictPolicy(lab, "bench/busybox");
    await refused(pod.create(withVolume), /ImageVolumeMountFailed: image .*nobody:1.* has to be signedBy/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${lab.directory}/image-volumes`)), []);
    await pod.start({ change: (config) => void (config.image = spec(lab.image)) });
  });

  await t.step("once it is signed and pulled again, it is", async () => {
    const { image } = await client.call("imageStatus", { image: spec(volume) });
    const digest = image?.repoDigests[0]?.split("@")[1] ?? "";
    const payload = {
      critical: {
        type: "atomic container signature",
        image: { "docker-manifest-digest": digest },
        identity: { "docker-reference": volume },
      },
      optional: {},
    };
    const directory = `${place}/lookaside/bench/nobody@${digest.replace(":", "=")}`;
    await Deno.mkdir(directory, { recursive: true });
    await Deno.writeFile(`${directory}/signature-1`, await home.sign(JSON.stringify(payload), { key }));
    await refused(pod.create(withVolume), /has to be signedBy/);
    await pullFor(volume);
    const id = await pod.start(withVolume);
    assert.match(await execText(lab, id, "cat", "/volume/etc/passwd"), /^root:/);
  });

  await t.step("a policy that cannot be read lets nothing run, and says why", async () => {
    await Deno.writeTextFile(`${lab.directory}/policies/strict.json`, "{");
    await assert.rejects(pod.create({}), /signature policy .*strict\.json: it is not valid JSON/);
  });
});
