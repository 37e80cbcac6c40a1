/** A container of an image that skopeo encrypted, on a node with its key and on one without. */
import assert from "node:assert/strict";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { buildImage } from "../fakes/registry/content.ts";
import { BUSYBOX_CONFIG, busyboxLayer } from "./harness/busybox_image.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, PodUnderTest } from "./harness/tries.ts";

async function tool(...argv: readonly [string, ...string[]]): Promise<void> {
  const [program, ...args] = argv;
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null", stderr: "piped" }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

/** Encrypts an image of the registry with skopeo and puts the result there as well. @returns its reference */
async function addEncrypted(registry: FakeRegistry, directory: string): Promise<string> {
  const image = buildImage({ layers: [await busyboxLayer()], config: BUSYBOX_CONFIG });
  for (const bytes of image.blobs.values()) registry.addBlob(bytes);
  registry.addManifest({ name: "plain", tag: "1", bytes: image.manifest, mediaType: image.mediaType });
  const [key, publicKey] = [`${directory}/keys/node.pem`, `${directory}/node.pub`];
  await Deno.mkdir(`${directory}/keys`);
  await tool("openssl", "genrsa", "-out", key, "2048");
  await tool("openssl", "rsa", "-in", key, "-pubout", "-out", publicKey);
  const source = `docker://${registry.host}/plain:1`;
  const options = ["-q", "--src-tls-verify=false", "--encryption-key", `jwe:${publicKey}`];
  await tool("skopeo", "--insecure-policy", "copy", ...options, source, `dir:${directory}/secret`);
  const bytes = await Deno.readFile(`${directory}/secret/manifest.json`);
  const { config, layers, mediaType } = JSON.parse(new TextDecoder().decode(bytes));
  for (const { digest } of [config, ...layers]) {
    registry.addBlob(await Deno.readFile(`${directory}/secret/${digest.split(":")[1]}`));
  }
  assert.match(layers[0].mediaType, /\+encrypted$/);
  registry.addManifest({ name: "secret", tag: "1", bytes, mediaType });
  return `${registry.host}/secret:1`;
}

async function read(response: Response): Promise<{ status: number; text: string }> {
  return { status: response.status, text: await response.text() };
}

Deno.test("an encrypted image runs on a node that has its key, and is refused on others", async () => {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-e2e-keys-" });
  try {
    await using registry = await FakeRegistry.start();
    const image = await addEncrypted(registry, directory);
    await using lab = await Lab.start({
      dropIn: () => `[crio.runtime]\ndecryption_keys_path = "${directory}/keys"\n`,
      prepare: async (place) => {
        const entry = `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`;
        await Deno.writeTextFile(`${place}/registries.conf`, entry, { append: true });
      },
    });
    await lab.pull();
    const pull = () => lab.daemon.client.call("pullImage", { image: message(ImageSpec, { image }) });
    await pull();
    const pod = await PodUnderTest.run(lab, "secret");
    const id = await pod.start({ image, command: SLEEPER });
    assert.match(await execText(lab, id, "cat", "/etc/passwd"), /^root:/);
    // The key is needed for each pull, not for a restart of what is here.
    const key = await Deno.readFile(`${directory}/keys/node.pem`);
    await Deno.remove(`${directory}/keys/node.pem`);
    await assert.rejects(pull(), /there is no private key in .*\/keys: .* decryption_keys_path/);
    assert.match(await execText(lab, await pod.start({ image, command: SLEEPER }), "cat", "/etc/passwd"), /^root:/);
    // Another directory counts from the next pull on.
    await Deno.mkdir(`${directory}/other`);
    await Deno.writeFile(`${directory}/other/node.pem`, key);
    const text = `[crio.runtime]\ndecryption_keys_path = "${directory}/other"\n`;
    await Deno.writeTextFile(`${lab.directory}/crio.conf.d/90-keys.conf`, text);
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path: lab.daemon.spec.socketPath } });
    const { status } = await fetch("http://localhost/reload", { client, method: "POST" }).then(read);
    assert.equal(status, 200);
    await pull();
    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
