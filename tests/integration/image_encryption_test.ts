/** Images that skopeo encrypted, pulled with and without their keys, and what others make of them in the store. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { runCommand } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { buildTar } from "../fakes/tar.ts";
import { addLayout, type Layout, layoutOf, skopeo } from "./layouts.ts";
import { type PullNode, withNode } from "./pull_node.ts";

openLibraries();

const file = (name: string, body: string | Uint8Array): Uint8Array => buildTar([{ name, body }]);
const secret = new Uint8Array(300_000);
for (let at = 0; at < secret.length; at += 60_000) crypto.getRandomValues(secret.subarray(at, at + 60_000));
const LAYERS = [file("etc/secret", secret), file("etc/two", "22")];

interface Keys extends AsyncDisposable {
  /** `<directory>/<name>.pem` and, for who encrypts, `<directory>.pub/<name>.pem`. */
  readonly directory: string;
}

async function makeKeys(): Promise<Keys> {
  const directory = await Deno.makeTempDir({ prefix: "keys-" });
  await Deno.mkdir(`${directory}.pub`);
  const openssl = (...args: string[]) => runCommand(["/usr/bin/openssl", ...args]);
  for (const name of ["rsa", "other"]) {
    await openssl("genrsa", "-out", `${directory}/${name}.pem`, "2048");
    await openssl("rsa", "-in", `${directory}/${name}.pem`, "-pubout", "-out", `${directory}.pub/${name}.pem`);
  }
  await openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", `${directory}/ec.pem`);
  await openssl("ec", "-in", `${directory}/ec.pem`, "-pubout", "-out", `${directory}.pub/ec.pem`);
  return {
    directory,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      for (const path of [directory, `${directory}.pub`]) await Deno.remove(path, { recursive: true });
    },
  };
}

/** Moves all keys but these away. */
async function keepOnly(keys: Keys, ...names: readonly string[]): Promise<void> {
  for (const { name } of await Array.fromAsync(Deno.readDir(keys.directory))) {
    if (!names.includes(name)) await Deno.rename(`${keys.directory}/${name}`, `${keys.directory}.pub/private-${name}`);
  }
}

async function bringBack(keys: Keys, name: string): Promise<void> {
  await Deno.rename(`${keys.directory}.pub/private-${name}`, `${keys.directory}/${name}`);
}

async function encrypted(layout: Layout, keys: Keys, ...names: readonly string[]): Promise<void> {
  const recipients = names.flatMap((name) => ["--encryption-key", `jwe:${keys.directory}.pub/${name}.pem`]);
  await skopeo("copy", "-q", ...recipients, `oci:${layout.path}:plain`, `oci:${layout.path}:secret`);
}

interface Scene {
  readonly node: PullNode;
  readonly keys: Keys;
  readonly layout: Layout;
  readonly reference: string;
}

/** An image that is encrypted for these keys, in a registry. */
async function withEncrypted(names: readonly string[], body: (scene: Scene) => Promise<void>): Promise<void> {
  await using keys = await makeKeys();
  await using layout = await layoutOf(LAYERS);
  await encrypted(layout, keys, ...names);
  await withNode({ images: { decryptionKeysPath: keys.directory } }, async (node) => {
    const reference = await addLayout(node.registry, { layout, ref: "secret", name: "secret" });
    await body({ node, keys, layout, reference });
  });
}

async function contentOf({ images, store }: PullNode, reference: string): Promise<Uint8Array> {
  const id = await images.pull({ image: reference });
  try {
    return await Deno.readFile(`${await store.mountImage(id)}/etc/secret`);
  } finally {
    await store.unmountImage(id);
  }
}

for (const [recipients, key] of [[["rsa"], "rsa"], [["ec"], "ec"], [["other", "rsa", "ec"], "ec"]] as const) {
  Deno.test(`an image that is encrypted for ${recipients} is opened with ${key}`, async () => {
    await withEncrypted(recipients, async ({ node, keys, layout, reference }) => {
      for (const { mediaType } of (await layout.manifest("secret")).layers) match(mediaType, /\+encrypted$/);
      await keepOnly(keys, `${key}.pem`);
      deepEqual(await contentOf(node, reference), secret);
    });
  });
}

Deno.test("without its key an image is refused: the error names the directory, the option and what is missing", async () => {
  await withEncrypted(["rsa"], async ({ node: { images, store, registry }, keys, reference }) => {
    const refused = (reason: RegExp) =>
      rejects(images.pull({ image: reference }), { kind: "permission_denied", message: reason });
    await keepOnly(keys, "other.pem", "ec.pem");
    await refused(/none of the 2 private keys in .*keys-.*\(decryption_keys_path\) opens it: put a key there/);
    await keepOnly(keys);
    await Deno.symlink(`${keys.directory}.pub/private-rsa.pem`, `${keys.directory}/link.pem`);
    await Deno.writeTextFile(`${keys.directory}/notes.txt`, "no key");
    await refused(/no private key in .*decryption_keys_path; not used: .*link\.pem \(a symbolic link\), .*notes\.txt/);
    deepEqual(await store.images(), []);
    equal(registry.requestsTo("registry", "/blobs/").length, 2, "the configuration only, each time");
    await bringBack(keys, "rsa.pem");
    const id = await images.pull({ image: reference });
    // The layers are there, the key is not: a node without the key gives nothing out again.
    await keepOnly(keys);
    await refused(/no private key/);
    equal((await images.list()).length, 1);
    await images.remove(id);
  });
});

Deno.test("a layer that was changed or cut is refused before it is committed", async () => {
  await withEncrypted(["rsa"], async ({ node, layout, reference }) => {
    const { images, registry, store } = node;
    const manifest = JSON.parse(new TextDecoder().decode(await layout.bytes("secret")));
    // The time in gzip's header is changed: the blob's digest is right, it unpacks, and the diff ID is right too.
    const change = (bytes: Uint8Array<ArrayBuffer>, at: number): string => {
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      const digest = registry.addBlob(bytes);
      manifest.layers[0].digest = digest;
      registry.addManifest({
        name: "changed",
        tag: "1",
        bytes: new TextEncoder().encode(JSON.stringify(manifest)),
        mediaType: "application/vnd.oci.image.manifest.v1+json",
      });
      return reference.replace("secret:1", "changed:1");
    };
    const blob = await layout.blob(manifest.layers[0].digest);
    const changed = change(blob, 5);
    await rejects(images.pull({ image: changed }), { kind: "data_loss", message: /its hmac is another/ });
    const options = JSON.parse(atob(manifest.layers[0].annotations["org.opencontainers.image.enc.pubopts"]));
    for (
      const [pubopts, reason] of [
        [{ ...options, cipher: "ROT13" }, /encrypted with "ROT13", not with AES_256_CTR_HMAC_SHA256/],
        [{ ...options, hmac: undefined }, /the hmac of layer .* is not 32 bytes/],
        ["x", /bad encryption annotations/],
      ] as const
    ) {
      manifest.layers[0].annotations["org.opencontainers.image.enc.pubopts"] = btoa(JSON.stringify(pubopts));
      await rejects(images.pull({ image: change(blob, 0) }), reason);
    }
    manifest.layers[0].annotations = { "org.opencontainers.image.enc.keys.pkcs7": "AA==" };
    await rejects(images.pull({ image: change(blob, 0) }), /wrapped with "pkcs7"; this node knows JWE/);
    manifest.layers[0].annotations = {};
    await rejects(images.pull({ image: change(blob, 0) }), /its key is not with it/);
    deepEqual(await store.images(), []);
  });
});

Deno.test("podman and skopeo read a decrypted image of ours; its digest stays the registry's", async () => {
  await withEncrypted(["rsa"], async ({ node, layout, reference }) => {
    const { images, root, store, registry } = node;
    const id = await images.pull({ image: reference });
    const info = await images.find(id);
    ok(info?.repoDigests[0]?.startsWith(`${registry.host}/secret@sha256:`));
    const digest = info?.repoDigests[0]?.split("@")[1] ?? "";
    deepEqual(await layout.blob(digest), await layout.bytes("secret"), "the manifest is kept as it came");
    const podman = [
      "/usr/bin/podman",
      "--root",
      `${root}/graph`,
      "--runroot",
      `${root}/run`,
      "--storage-driver",
      "overlay",
    ];
    const run = async (...args: string[]): Promise<string> =>
      new TextDecoder().decode((await runCommand([...podman, "--tmpdir", `${root}/libpod`, ...args])).stdout).trim();
    equal(await run("images", "--no-trunc", "--quiet"), `sha256:${id}`);
    const mounted = await run("image", "mount", id);
    deepEqual(await Deno.readFile(`${mounted}/etc/secret`), secret);
    await run("image", "unmount", id);
    const records = JSON.parse(await Deno.readTextFile(`${root}/graph/overlay-layers/layers.json`));
    const blobs = (await layout.manifest("secret")).layers.map((layer) => layer.digest);
    for (const record of records) ok(!blobs.includes(record["compressed-diff-digest"]));
    equal((await store.images()).length, 1);
  });
});
