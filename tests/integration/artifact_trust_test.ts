/** Signatures of artifacts: asked for at the pull, kept with the artifact, and asked for again when it is used. */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { keyPair, publicPem } from "../fakes/signing/certificates.ts";
import { attach, signSigstore } from "../fakes/signing/sigstore.ts";
import { type PullNode, withNode } from "./pull_node.ts";
import { writeLookaside } from "./signature_scenes.ts";

openLibraries();

const REFUSED = { kind: "signature_validation_failed" };
const CONFIG = "application/vnd.cncf.seccomp-profile.config.v1+json";
const [mine, other] = [keyPair(), keyPair()];
const signedBy = ({ publicKey }: typeof mine): unknown => ({
  type: "sigstoreSigned",
  keyData: Buffer.from(publicPem(publicKey)).toString("base64"),
});

function policy({ root }: PullNode, requirement: unknown): Promise<void> {
  return Deno.writeTextFile(`${root}/policy.json`, JSON.stringify({ default: [requirement] }));
}

async function withArtifacts(
  body: (node: PullNode, made: Record<"plain" | "signed", ReturnType<typeof addArtifact>>) => Promise<void>,
): Promise<void> {
  await withNode({}, async (node) => {
    await writeLookaside(node);
    const of = (name: string) => {
      const files = [{ title: "profile.json", body: `{"defaultAction":"SCMP_ACT_ALLOW","comment":"${name}"}` }];
      return addArtifact(node.registry, { name, files, configType: CONFIG });
    };
    const made = { plain: of("plain"), signed: of("signed") };
    attach(node.registry, { ...made.signed, name: "signed" }, [
      signSigstore({ ...made.signed, key: mine.privateKey }),
    ]);
    await body(node, made);
  });
}

Deno.test("an artifact without the signature that the policy wants is not stored", async () => {
  await withArtifacts(async (node, { plain, signed }) => {
    const { all, root } = node;
    await policy(node, signedBy(mine));
    await rejects(all.pull({ image: plain.reference }), REFUSED);
    await rejects(Deno.lstat(`${root}/graph/artifacts/index.json`), Deno.errors.NotFound);
    equal(await all.pull({ image: signed.reference }), signed.id);
    await policy(node, { type: "reject" });
    await rejects(all.pull({ image: signed.reference }), REFUSED);
  });
});

Deno.test("the policy is asked again when an artifact becomes a volume or a profile, without the registry", async () => {
  await withArtifacts(async (node, { plain, signed }) => {
    const { all, registry } = node;
    for (const { reference } of [plain, signed]) await all.pull({ image: reference });
    const { signal } = new AbortController();
    const profile = (reference: string): Promise<string> =>
      all.seccompProfile(reference, { namespace: "team", signal });
    const refused = async (reference: string): Promise<void> => {
      await rejects(all.volume(reference), REFUSED);
      await rejects(profile(reference), REFUSED);
    };
    const asked = registry.requests.length;
    equal((await all.volume(plain.reference))?.id, plain.id);
    await policy(node, signedBy(mine));
    await refused(plain.reference);
    await refused(plain.id);
    for (const name of [signed.reference, signed.id, signed.digestReference]) {
      equal((await all.volume(name))?.id, signed.id, name);
      equal(JSON.parse(await profile(name)).comment, "signed");
    }
    equal((await all.volume(signed.id, { specified: signed.reference }))?.id, signed.id);
    await rejects(all.volume(signed.id, { specified: `${registry.host}/elsewhere:1` }), REFUSED);
    await policy(node, signedBy(other));
    await refused(signed.reference);
    await policy(node, { type: "reject" });
    await refused(plain.reference);
    await refused(signed.reference);
    equal(registry.requests.length, asked, "the registry is not asked again");
  });
});

Deno.test("signatures go with their artifact", async () => {
  await withArtifacts(async ({ all, root }, { plain, signed }) => {
    const kept = async (): Promise<string[]> =>
      await Array.fromAsync(Deno.readDir(`${root}/graph/artifacts/.crio-signatures`), ({ name }) => name);
    for (const { reference } of [plain, signed]) await all.pull({ image: reference });
    deepEqual(await kept(), [`sha256-${signed.id}.json`]);
    await all.remove(signed.reference);
    deepEqual(await kept(), []);
  });
});
