/** Signed images in directories and layouts: `dir:` as skopeo writes it, OCI layouts with attachments. */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { sha256 } from "../fakes/registry/content.ts";
import { keyPair, publicPem } from "../fakes/signing/certificates.ts";
import { GpgHome } from "../fakes/signing/gpg.ts";
import { type AttachedSignature, signSigstore } from "../fakes/signing/sigstore.ts";
import { runTool } from "../fakes/signing/tool.ts";
import { buildTar } from "../fakes/tar.ts";
import { type DropNode, skopeo, withDrop } from "./drop_node.ts";

openLibraries();

const NAME = "registry.invalid/team/app:1";
const LAYERS = [buildTar([{ name: "file", body: "1" }])];

async function writePolicy({ root }: DropNode, transports: Record<string, unknown>): Promise<void> {
  await Deno.writeTextFile(`${root}/policy.json`, JSON.stringify({ default: [{ type: "reject" }], transports }));
}

/** Puts a signature into a layout under the tag that the digest makes. */
async function attachTo(layout: string, digest: string, signature: AttachedSignature): Promise<void> {
  const put = async (bytes: Uint8Array): Promise<{ digest: string; size: number }> => {
    const name = sha256(bytes);
    await Deno.writeFile(`${layout}/blobs/${name.replace(":", "/")}`, bytes);
    return { digest: name, size: bytes.length };
  };
  const { mediaType, payload, annotations } = signature;
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...await put(new TextEncoder().encode("{}")) },
    layers: [{ mediaType, ...await put(payload), annotations }],
  };
  const index = JSON.parse(await Deno.readTextFile(`${layout}/index.json`));
  index.manifests.push({
    mediaType: manifest.mediaType,
    ...await put(new TextEncoder().encode(JSON.stringify(manifest))),
    annotations: { "org.opencontainers.image.ref.name": `${digest.replace(":", "-")}.sig` },
  });
  await Deno.writeTextFile(`${layout}/index.json`, JSON.stringify(index));
}

Deno.test("an image of a directory is imported when its signatures are good, and keeps them", async () => {
  await using home = await GpgHome.make();
  const [good, other] = [await home.addKey("good@example.com"), await home.addKey("other@example.com")];
  const keyData = (await home.export([good])).toBase64();
  await withDrop({ sources: ["registry.invalid/team=dir:ROOT/media"] }, async (node) => {
    const { images, registry, root, said, store } = node;
    const built = registry.addImage({ name: "team/app", tag: "1", layers: LAYERS });
    await writePolicy(node, { dir: { [`${root}/media`]: [{ type: "signedBy", keyType: "GPGKeys", keyData }] } });
    const directory = `${root}/media/app:1`;
    await Deno.mkdir(`${root}/media`);
    await skopeo(root, built, `dir:${directory}`);
    const pull = (): Promise<string> => images.pull({ image: NAME });
    const refused = async (reason: RegExp): Promise<void> => {
      await rejects(pull(), { kind: "signature_validation_failed" });
      await said.next(reason);
    };
    await refused(/dir:\/.*app:1 has to be signedBy by the policy .*it has no signature of that kind/);
    const sign = async (key: string, reference: string): Promise<void> => {
      const output = `${directory}/signature-1`;
      const manifest = `${directory}/manifest.json`;
      await runTool(["skopeo", "standalone-sign", manifest, reference, key, "-o", output], { env: home.environment });
    };
    await sign(other, NAME);
    await refused(/which is not trusted/);
    await sign(good, "registry.invalid/team/other:1");
    await refused(/it is for the name "registry\.invalid\/team\/other:1"/);
    deepEqual(await images.list(), []);
    await sign(good, NAME);
    const id = await pull();
    equal(`sha256:${id}`, built.config.digest);
    const [stored] = await store.images({});
    const [digest] = stored?.digests ?? [];
    if (stored === undefined || digest === undefined) throw new Error("the image is not there");
    const kept = await store.imageSignatures(stored.id, digest);
    deepEqual(kept.map((one) => new Uint8Array(one)), [await Deno.readFile(`${directory}/signature-1`)]);
  });
});

Deno.test("an image of a layout is imported when an attached signature is good; the attachment is no image", async () => {
  const { publicKey, privateKey: key } = keyPair();
  const signed = { type: "sigstoreSigned", keyData: Buffer.from(publicPem(publicKey)).toString("base64") };
  await withDrop({}, async (node) => {
    const { images, registry, root, drop, said } = node;
    await writePolicy(node, { oci: { [drop]: [signed] }, "oci-archive": { [drop]: [signed] } });
    const built = registry.addImage({ name: "team/app", tag: "1", layers: LAYERS });
    const layout = `${root}/layout`;
    await skopeo(root, built, `oci:${layout}:${NAME}`);
    const pack = async (name: string): Promise<void> => {
      await runTool(["tar", "-cf", `${root}/${name}`, "-C", layout, "."]);
      await Deno.rename(`${root}/${name}`, `${drop}/${name}`);
    };
    await pack("unsigned.tar");
    await said.next(/has to be sigstoreSigned .*no signature of that kind/);
    deepEqual(await images.list(), []);
    await attachTo(layout, built.digest, signSigstore({ digest: built.digest, reference: NAME, key }));
    await pack("signed.tar");
    await said.next(/^info Imported image archive .*registry\.invalid\/team\/app:1/);
    const [info, ...others] = await images.list();
    deepEqual([`sha256:${info?.id}`, others], [built.config.digest, []]);
  });
});

Deno.test("an archive of Docker's cannot be signed, and the reason says so", async () => {
  await withDrop({}, async (node) => {
    const { registry, root, drop, said } = node;
    await writePolicy(node, { "docker-archive": { "": [{ type: "sigstoreSigned", keyPath: "/k" }] } });
    const built = registry.addImage({ name: "team/app", tag: "1", layers: LAYERS });
    await skopeo(root, built, `docker-archive:${root}/a.tar:${NAME}`);
    await Deno.rename(`${root}/a.tar`, `${drop}/a.tar`);
    await said.next(/archives of Docker have no signatures/);
  });
});
