/** Whose policy counts, when it is asked, where signatures come from, and that other programs find ours. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { keyPair, publicPem } from "../fakes/signing/certificates.ts";
import { GpgHome } from "../fakes/signing/gpg.ts";
import { attach, signSigstore } from "../fakes/signing/sigstore.ts";
import { runTool } from "../fakes/signing/tool.ts";
import { buildTar } from "../fakes/tar.ts";
import { type PullNode, withNode } from "./pull_node.ts";
import { addImage, gpgKind, putAside, writeLookaside } from "./signature_scenes.ts";

openLibraries();

const REFUSED = { kind: "signature_validation_failed" };
const { publicKey, privateKey: key } = keyPair();
const SIGNED = { type: "sigstoreSigned", keyData: Buffer.from(publicPem(publicKey)).toString("base64") };
const ACCEPT = { type: "insecureAcceptAnything" };

async function writePolicy(file: string, ...requirements: readonly unknown[]): Promise<void> {
  await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true });
  await Deno.writeTextFile(file, JSON.stringify({ default: requirements }));
}

/** A node whose namespace `strict` asks for signatures, and the others for nothing. */
async function withStrictNamespace(body: (node: PullNode) => Promise<void>): Promise<void> {
  const policies = await Deno.makeTempDir({ prefix: "policies-" });
  try {
    await writePolicy(`${policies}/strict.json`, SIGNED);
    await withNode({ images: { policyDirectory: policies } }, async (node) => {
      await writeLookaside(node);
      await body(node);
    });
  } finally {
    await Deno.remove(policies, { recursive: true });
  }
}

Deno.test("a namespace's own policy counts, at the pull and when the image is used", async () => {
  await withStrictNamespace(async (node) => {
    const { images, registry } = node;
    const [plain, signed] = [addImage(node, "plain"), addImage(node, "signed")];
    attach(registry, signed, [signSigstore({ ...signed, key })]);
    const strict = { namespace: "strict" };
    await rejects(images.pull({ image: plain.reference, pod: strict }), REFUSED);
    const id = await images.pull({ image: plain.reference, pod: { namespace: "other" } });
    equal((await images.resolve(plain.reference, { namespace: "other" })).id, id);
    for (const name of [plain.reference, id, plain.digestReference]) {
      await rejects(images.resolve(name, { ...strict, specified: plain.reference }), REFUSED);
      await rejects(images.resolve(name, strict), REFUSED);
    }
    // Pulled for nobody in particular: its signature came along.
    const other = await images.pull({ image: signed.reference });
    const asked = registry.requests.length;
    for (const name of [signed.reference, other, signed.digestReference]) {
      equal((await images.resolve(name, strict)).id, other, name);
      equal((await images.resolve(other, { ...strict, specified: name })).id, other, name);
    }
    equal(registry.requests.length, asked, "the registry is not asked again");
    const elsewhere = signed.reference.replace("/signed", "/elsewhere");
    await rejects(images.resolve(other, { ...strict, specified: elsewhere }), /elsewhere:1 has to be sigstoreSigned/);
    const foreign = signed.reference.replace(":1", `@sha256:${"0".repeat(64)}`);
    await rejects(images.resolve(other, { ...strict, specified: foreign }), /is not .*0000: pull that again/);
  });
});

Deno.test("what the policy says now counts for images that are here", async () => {
  await withNode({}, async (node) => {
    const { images, root } = node;
    const image = addImage(node, "app");
    const id = await images.pull({ image: image.reference });
    await writePolicy(`${root}/policy.json`, { type: "reject" });
    await rejects(images.resolve(image.reference), /is rejected by the policy/);
    await rejects(images.resolve(id), /is rejected by the policy/);
    await writePolicy(`${root}/policy.json`, SIGNED);
    await rejects(images.resolve(id), /app:1 has to be sigstoreSigned .* no signature of that kind/);
    await Deno.writeTextFile(`${root}/policy.json`, "{");
    await rejects(images.resolve(id), { kind: "failed_precondition", message: /policy\.json: it is not valid JSON/ });
    await Deno.remove(`${root}/policy.json`);
    await rejects(images.resolve(id), { kind: "failed_precondition" });
    await writePolicy(`${root}/policy.json`, ACCEPT);
    equal((await images.resolve(id)).id, id);
  });
});

Deno.test("an image that is asked for by part of its id has to be allowed under one of its names", async () => {
  await withNode({}, async (node) => {
    const { images, all, registry, root } = node;
    const { reference } = addImage(node, "app");
    const artifact = addArtifact(registry, { name: "files", files: [{ title: "a", body: "1" }] });
    const id = await images.pull({ image: reference });
    await all.pull({ image: artifact.reference });
    const transports = { docker: { [registry.host]: [{ type: "reject" }] } };
    await Deno.writeTextFile(`${root}/policy.json`, JSON.stringify({ default: [ACCEPT], transports }));
    for (const part of [id, id.slice(0, 12)]) {
      await rejects(images.resolve(part), /app:1 is rejected by the policy/);
      await rejects(images.resolve(id, { specified: part }), /app:1 is rejected by the policy/);
    }
    for (const part of [artifact.id, artifact.id.slice(0, 12)]) {
      await rejects(all.volume(part), /files:1 is rejected by the policy/);
    }
  });
});

Deno.test("a key that was taken back counts no more for images that are here", async () => {
  await using home = await GpgHome.make();
  await withNode({}, async (node) => {
    await writeLookaside(node);
    const { requirement, sign } = await gpgKind(node, home);
    await writePolicy(`${node.root}/policy.json`, requirement);
    const image = addImage(node, "app");
    await sign("accepted", image);
    const id = await node.images.pull({ image: image.reference });
    equal((await node.images.resolve(id)).id, id);
    await Deno.writeFile(String(requirement["keyPath"]), await home.export(["other@example.com"]));
    await rejects(node.images.resolve(id), /made by the key [0-9a-f]{16}, which is not trusted/);
    await Deno.remove(String(requirement["keyPath"]));
    await rejects(node.images.resolve(id), { kind: "failed_precondition", message: /keys\.gpg.* policy names/ });
  });
});

Deno.test("of an index the signature of the platform's manifest counts", async () => {
  await withStrictNamespace(async (node) => {
    const { images, registry } = node;
    const platform = { os: "linux", architecture: Deno.build.arch === "aarch64" ? "arm64" : "amd64" };
    const add = (name: string): { member: string; index: string } => {
      const layers = [buildTar([{ name: "file", body: name }])];
      const member = registry.addImage({ name, tag: "member", layers, platform });
      return { member: member.digest, index: registry.addIndex({ name, tag: "1", images: [member] }) };
    };
    for (const part of ["member", "index"] as const) {
      const digests = add(part);
      const reference = `${registry.host}/${part}:1`;
      attach(registry, { name: part, digest: digests[part] }, [
        signSigstore({ digest: digests[part], reference, key }),
      ]);
      const byDigest = `${registry.host}/${part}@${digests.index}`;
      for (const image of [reference, byDigest]) {
        const pull = images.pull({ image, pod: { namespace: "strict" } });
        if (part === "index") await rejects(pull, REFUSED);
        else equal((await images.resolve(await pull, { namespace: "strict", specified: image })).name, image);
      }
    }
  });
});

Deno.test("a signature's claim is compared as signedIdentity says", async () => {
  await withNode({}, async (node) => {
    await writeLookaside(node);
    const { images, registry, root } = node;
    const image = addImage(node, "team/app");
    // cosign writes no tag.
    const reference = `${registry.host}/team/app`;
    attach(registry, image, [signSigstore({ ...image, reference, key })]);
    await writePolicy(`${root}/policy.json`, SIGNED);
    await rejects(images.pull({ image: image.reference }), REFUSED);
    for (
      const signedIdentity of [{ type: "matchRepository" }, { type: "exactRepository", dockerRepository: reference }]
    ) {
      await writePolicy(`${root}/policy.json`, { ...SIGNED, signedIdentity });
      await images.pull({ image: image.reference });
    }
  });
});

Deno.test("signatures come from a mirror that is asked, and from a lookaside place on the web", async () => {
  await using mirror = await FakeRegistry.start();
  await using home = await GpgHome.make();
  const config = (host: string): string =>
    [
      `[[registry]]\nprefix = "registry.example"\nlocation = "${host}"\ninsecure = true`,
      `[[registry.mirror]]\nlocation = "${mirror.host}/mirrored"\ninsecure = true\n`,
    ].join("\n");
  await withNode({ config }, async (node) => {
    const { images, root } = node;
    const asked: string[] = [];
    const web = createServer((request, response) => {
      asked.push(request.url ?? "");
      Deno.readFile(`${root}/lookaside${request.url?.slice("/s".length)}`).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
    try {
      const base = `http://127.0.0.1:${(web.address() as AddressInfo).port}/s`;
      await Deno.mkdir(`${root}/registries.d`);
      await Deno.writeTextFile(
        `${root}/registries.d/mirror.yaml`,
        `docker:\n  ${mirror.host}/mirrored:\n    lookaside: ${base}\n    use-sigstore-attachments: true\n`,
      );
      const kind = await gpgKind(node, home);
      await writePolicy(`${root}/policy.json`, SIGNED, kind.requirement);
      const image = mirror.addImage({ name: "mirrored/app", tag: "1", layers: [buildTar([{ name: "f" }])] });
      const target = { ...image, name: "mirrored/app", reference: "registry.example/app:1" };
      attach(mirror, target, [signSigstore({ ...target, key })]);
      await rejects(images.pull({ image: target.reference }), /has to be signedBy/);
      await kind.sign("accepted", target);
      const id = await images.pull({ image: target.reference });
      equal((await images.resolve(id)).name, target.reference);
      deepEqual(asked.slice(-2).map((path) => path.slice(-12)), ["/signature-1", "/signature-2"]);
    } finally {
      web.closeAllConnections();
      await new Promise((resolve) => web.close(resolve));
    }
  });
});

Deno.test("a place of signatures that does not work stops a pull only where signatures are asked for", async () => {
  await withNode({}, async (node) => {
    const { images, registry, root } = node;
    const image = addImage(node, "app");
    await Deno.mkdir(`${root}/registries.d`);
    await Deno.writeTextFile(`${root}/registries.d/x.yaml`, "default-docker: {lookaside: 'http://127.0.0.1:9/s'}");
    await writePolicy(`${root}/policy.json`, SIGNED);
    await rejects(images.pull({ image: image.reference }), (error: Error & { kind?: string }) => {
      equal(error.kind, "registry_unavailable");
      match(error.message, /look for signatures of app@sha256:[0-9a-f]{64}: http:\/\/127\.0\.0\.1:9\/s.*refused/i);
      return true;
    });
    await Deno.remove(`${root}/registries.d/x.yaml`);
    await writeLookaside(node);
    registry.fail({ path: ".sig", nth: 1, effect: { kind: "status", status: 403 } });
    await rejects(images.pull({ image: image.reference }), { kind: "permission_denied", message: /signatures .* 403/ });
    await Deno.remove(`${root}/registries.d/default.yaml`);
    await writePolicy(`${root}/policy.json`, ACCEPT);
    await images.pull({ image: image.reference });
    await Deno.writeTextFile(`${root}/registries.d/x.yaml`, "default-docker: []");
    await images.pull({ image: image.reference });
    await writePolicy(`${root}/policy.json`, SIGNED);
    await rejects(
      images.pull({ image: image.reference }),
      /signature places .*x\.yaml: default-docker is not an object/,
    );
  });
});

Deno.test("hostile places of signatures are refused within limits", async () => {
  await withNode({}, async (node) => {
    await writeLookaside(node);
    const { images, registry, root } = node;
    await writePolicy(`${root}/policy.json`, SIGNED);
    const image = addImage(node, "app");
    const good = signSigstore({ ...image, key });
    const pull = (): Promise<unknown> => images.pull({ image: image.reference });
    attach(registry, image, Array.from({ length: 129 }, () => good));
    await rejects(pull(), /is not a manifest with up to 128 signatures/);
    attach(registry, image, [{ ...good, payload: new Uint8Array(5 * 1024 * 1024) }]);
    await rejects(pull(), /have more than 4194304 bytes together/);
    attach(registry, image, Array.from({ length: 10 }, () => ({ ...good, annotations: {} })));
    await rejects(pull(), REFUSED);
    const tag = `${image.digest.replace(":", "-")}.sig`;
    const odd = [`[]`, `{"layers":1}`, `{"schemaVersion":2,"layers":[{"digest":"sha256:1"}]}`, "<html>"];
    for (const text of odd) {
      const mediaType = "application/vnd.oci.image.manifest.v1+json";
      registry.addManifest({ name: "app", tag, bytes: new TextEncoder().encode(text), mediaType });
      await rejects(pull(), /look for signatures/, text);
    }
    attach(registry, image, [good]);
    await putAside(node, image, new TextEncoder().encode("<html>not a signature"));
    await rejects(pull(), /look for signatures .* it is no signature/);
    await putAside(node, image, Uint8Array.of(0xa3, 1, 2, 3));
    await pull();
  });
});

Deno.test("skopeo finds the signatures that we keep, and we those that skopeo keeps", async () => {
  await using home = await GpgHome.make();
  await withNode({}, async (node) => {
    await writeLookaside(node);
    const { images, root } = node;
    const kind = await gpgKind(node, home);
    await writePolicy(`${root}/policy.json`, kind.requirement);
    const [ours, theirs] = [addImage(node, "ours", "none"), addImage(node, "theirs")];
    for (const image of [ours, theirs]) {
      await kind.sign("accepted", image);
      attach(node.registry, image, [signSigstore({ ...image, key })]);
    }
    await images.pull({ image: ours.reference });
    const storage = (name: string): string => `containers-storage:[overlay@${root}/graph+${root}/run]${name}`;
    const general = ["skopeo", "--policy", `${root}/policy.json`, "--registries.d", `${root}/registries.d`];
    const out = `${root}/out`;
    await runTool(["skopeo", "--insecure-policy", "copy", storage(ours.reference), `dir:${out}`]);
    const kept = await Deno.readFile(`${root}/lookaside/ours@${ours.digest.replace(":", "=")}/signature-1`);
    deepEqual(await Deno.readFile(`${out}/signature-1`), kept);
    match(await Deno.readTextFile(`${out}/signature-2`), /^\0sigstore-json\n\{/);
    const source = `docker://${theirs.reference}`;
    await runTool([...general, "copy", "--src-tls-verify=false", source, storage(theirs.reference)]);
    const resolved = await images.resolve(theirs.reference);
    equal(`sha256:${resolved.id}`, theirs.config.digest);
    const unsigned = addImage(node, "unsigned");
    const insecure = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"];
    await runTool([...insecure, `docker://${unsigned.reference}`, storage(unsigned.reference)]);
    await rejects(images.resolve(unsigned.reference), REFUSED);
  });
});
