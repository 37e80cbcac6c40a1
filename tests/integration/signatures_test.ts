/** The signature matrix: every way to sign, good and bad, against the policy that asks for it; and skopeo's verdict. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { GpgHome } from "../fakes/signing/gpg.ts";
import { runTool } from "../fakes/signing/tool.ts";
import { type PullNode, withNode } from "./pull_node.ts";
import {
  addImage,
  fulcioKind,
  gpgKind,
  keyKind,
  type Kind,
  loggedKeyKind,
  pkiKind,
  type Target,
  writeLookaside,
} from "./signature_scenes.ts";

openLibraries();

const KINDS: Readonly<Record<string, (node: PullNode, home: GpgHome) => Kind | Promise<Kind>>> = {
  gpg: gpgKind,
  key: keyKind,
  "key-log": loggedKeyKind,
  fulcio: fulcioKind,
  pki: pkiKind,
};
/** Debian's skopeo has sigstore taken out: it says no to good signatures too. */
const KNOWN_TO_SKOPEO = ["gpg"];

const REASONS: Readonly<Record<string, RegExp>> = {
  "wrong key": /not trusted|by a signer that is trusted|lead to a trusted|about another signer/,
  unsigned: /it has no signature of that kind/,
  "wrong identity": /it is for the name ".*-other", which matchRepoDigestOrExact does not take/,
  "expired certificate": /expired/,
  "tampered payload": /not good|not one of this payload|about another payload/,
  "missing transparency entry": /there is no entry of a transparency log/,
};

async function demand({ root, registry }: PullNode, requirement: unknown): Promise<void> {
  const docker = { [registry.host]: [requirement] };
  await Deno.writeTextFile(
    `${root}/policy.json`,
    JSON.stringify({ default: [{ type: "reject" }], transports: { docker } }),
  );
}

async function skopeoAccepts({ root }: PullNode, { reference }: Target): Promise<boolean> {
  const copy = await Deno.makeTempDir({ dir: root });
  const general = ["--policy", `${root}/policy.json`, "--registries.d", `${root}/registries.d`];
  const source = [`docker://${reference}`, `dir:${copy}`];
  try {
    await runTool(["skopeo", ...general, "copy", "--remove-signatures", "--src-tls-verify=false", ...source]);
    return true;
  } catch (error) {
    match(String(error), /Source image rejected/);
    return false;
  }
}

for (const [name, make] of Object.entries(KINDS)) {
  Deno.test(`signatures: ${name}`, async (t) => {
    await using home = await GpgHome.make();
    await withNode({}, async (node) => {
      await writeLookaside(node);
      const kind = await make(node, home);
      await demand(node, kind.requirement);
      for (const row of kind.rows) {
        await t.step(row, async () => {
          const image = addImage(node, `${name}/${row.replaceAll(" ", "-")}`);
          await kind.sign(row, image);
          const [layer] = image.layers;
          const before = (await node.images.list()).length;
          if (row === "accepted") {
            const id = await node.images.pull({ image: image.reference });
            equal(`sha256:${id}`, image.config.digest);
            equal((await node.images.resolve(id, { specified: image.reference })).id, id);
            equal((await node.images.resolve(image.digestReference)).id, id);
          } else {
            await rejects(node.images.pull({ image: image.reference }), (error: Error & { kind?: string }) => {
              equal(error.kind, "signature_validation_failed");
              match(error.message, REASONS[row] ?? /^$/);
              ok(error.message.includes(`${node.root}/policy.json`), error.message);
              return true;
            });
            equal((await node.images.list()).length, before, "nothing is committed");
            deepEqual(node.registry.requestsTo("registry", layer?.digest), [], "no layer is asked for");
          }
          if (KNOWN_TO_SKOPEO.includes(name)) equal(await skopeoAccepts(node, image), row === "accepted");
        });
      }
    });
  });
}
