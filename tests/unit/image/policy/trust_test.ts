import { deepEqual, rejects } from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import { type Digest, parseDigest, parseImageId } from "../../../../src/base/ids.ts";
import { pathSubject } from "../../../../src/image/policy/scopes.ts";
import { ImageTrust, type TrustDeps } from "../../../../src/image/policy/trust.ts";
import type { VerifyJob } from "../../../../src/image/pull/protocol.ts";
import { parseReference } from "../../../../src/image/reference.ts";
import { buildImage } from "../../../fakes/registry/content.ts";

const BUILT = buildImage({ layers: [] });
const ID = parseImageId(BUILT.config.digest.slice("sha256:".length));
const DIGEST = parseDigest(BUILT.digest);
const INDEX = parseDigest(`sha256:${"1".repeat(64)}`);
const IMAGE = { id: ID, names: ["quay.io/a/b:1", "quay.io/c/d:2"], digests: [DIGEST, INDEX] };
const REJECT = [{ type: "reject" }];
const SIGNED = [{ type: "sigstoreSigned", keyPath: "/k" }];
const ACCEPT = [{ type: "insecureAcceptAnything" }];

interface Scene {
  readonly check: (meant?: string, digests?: readonly Digest[]) => Promise<void>;
  readonly jobs: VerifyJob[];
  readonly policy: (document: unknown) => Promise<void>;
}

async function withTrust(deps: Partial<TrustDeps>, body: (scene: Scene) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const jobs: VerifyJob[] = [];
    const policyFile = `${directory}/policy.json`;
    const trust = new ImageTrust({ policyFile, environment: {} }, {
      store: {
        imageManifest: (_id, digest?: Digest) =>
          Promise.resolve(digest === INDEX ? new TextEncoder().encode("{}") : BUILT.manifest),
        imageSignatures: () => Promise.resolve([Uint8Array.of(1)]),
      },
      verifier: {
        verify: (job) => {
          jobs.push(job);
          return Promise.resolve();
        },
      },
      log: silentLogger,
      ...deps,
    });
    const { signal } = new AbortController();
    await body({
      jobs,
      check: (meant, digests = IMAGE.digests) => {
        const names = meant === undefined ? [] : [parseReference(meant)];
        return trust.check({ ...IMAGE, digests }, { meant: names, namespace: undefined, signal });
      },
      policy: (document) => Deno.writeTextFile(policyFile, JSON.stringify(document)),
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("check() asks for signatures of the image's own manifest, under the name that is meant", async () => {
  await withTrust({}, async ({ check, jobs, policy }) => {
    await policy({ default: SIGNED });
    await check("quay.io/x/y:3");
    const [job] = jobs;
    deepEqual(job?.demand.name, "quay.io/x/y:3");
    deepEqual(job?.manifests, [{ manifest: new Uint8Array(BUILT.manifest).toBase64(), signatures: ["AQ=="] }]);
    await check(`quay.io/x/y@${INDEX}`);
    await rejects(check(`quay.io/x/y@sha256:${"2".repeat(64)}`), /is not quay\.io\/x\/y@sha256:2.*pull that again/);
  });
});

Deno.test("check() shows no manifest that is damaged, or is not the image's", async () => {
  const other = buildImage({ layers: [], config: { User: "1" } });
  const store = (manifest: Uint8Array): TrustDeps["store"] => ({
    imageManifest: () => Promise.resolve(manifest),
    imageSignatures: () => Promise.resolve([Uint8Array.of(1)]),
  });
  const digests = [DIGEST, parseDigest(other.digest)];
  for (const manifest of [other.manifest, new TextEncoder().encode(`${new TextDecoder().decode(BUILT.manifest)} `)]) {
    await withTrust({ store: store(manifest) }, async ({ check, jobs, policy }) => {
      await policy({ default: SIGNED });
      await check("quay.io/x/y:3", digests);
      deepEqual(jobs[0]?.manifests, []);
    });
  }
});

Deno.test("check() takes any name of the image where none is meant, and refuses with the first one's reason", async () => {
  await withTrust({}, async ({ check, jobs, policy }) => {
    await policy({ default: REJECT, transports: { docker: { "quay.io/c": ACCEPT } } });
    await check();
    await rejects(check("quay.io/a/b:1"), /quay\.io\/a\/b:1 is rejected/);
    await policy({ default: REJECT });
    await rejects(check(), /quay\.io\/a\/b:1 is rejected/);
    deepEqual(jobs, []);
  });
});

Deno.test("check() takes an image from a place that the policy accepts, whatever it is called", async () => {
  const originsOf = (): ReturnType<NonNullable<TrustDeps["originsOf"]>> => [pathSubject("dir", "/media/images/one")];
  await withTrust({ originsOf }, async ({ check, jobs, policy }) => {
    await policy({ default: REJECT, transports: { dir: { "/media/images": ACCEPT } } });
    await check("quay.io/a/b:1");
    await policy({ default: REJECT, transports: { dir: { "/media": SIGNED } } });
    await check("quay.io/a/b:1");
    deepEqual(jobs.map(({ demand }) => [demand.name, demand.identity]), [["dir:/media/images/one", undefined]]);
    await policy({ default: REJECT, transports: { dir: { "/else": ACCEPT } } });
    await rejects(check("quay.io/a/b:1"), { kind: "signature_validation_failed", message: /quay\.io\/a\/b:1/ });
  });
});
