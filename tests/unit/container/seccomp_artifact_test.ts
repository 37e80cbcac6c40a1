import { deepEqual, equal, rejects } from "node:assert/strict";
import { AnnotationGate } from "../../../src/config/annotation_gate.ts";
import {
  profileReference,
  seccompArtifactOf,
  type SeccompArtifactRequest,
} from "../../../src/container/seccomp_artifact.ts";

const KEY = "seccomp-profile.crio.io";
const OLD = "seccomp-profile.kubernetes.cri-o.io";

Deno.test("profileReference() goes by container, pod, and the image's plain, container and pod annotations", () => {
  const container: Record<string, string> = { [`${KEY}/app`]: "container", [`${KEY}/other`]: "no" };
  const pod: Record<string, string> = { [`${OLD}/POD`]: "pod" };
  const image: Record<string, string> = {
    [KEY]: "plain",
    [`${KEY}/app`]: "image container",
    [`${OLD}/POD`]: "image pod",
  };
  const chosen = (annotations: Record<string, string>, own: Record<string, string>): string | undefined =>
    profileReference({ container: "app", annotations, image: own });
  equal(chosen({ ...container, ...pod }, image), "container");
  equal(chosen({ ...pod, [KEY]: "a pod's plain one means nothing" }, image), "pod");
  equal(chosen({ [`${KEY}/other`]: "no" }, image), "plain");
  delete image[KEY];
  equal(chosen({}, image), "image container");
  delete image[`${KEY}/app`];
  equal(chosen({}, image), "image pod");
  equal(chosen({}, {}), undefined);
});

interface Case {
  readonly security?: object;
  readonly allowed?: readonly string[];
  readonly annotations?: Record<string, string>;
  readonly image?: Record<string, string>;
}

function ask(given: Case): Promise<unknown> {
  const { security = {}, allowed = [KEY], annotations = { [`${KEY}/app`]: "x/profile:1" }, image = {} } = given;
  const gate = new AnnotationGate(
    {
      handlers: new Map([["crun", { allowedAnnotations: allowed, defaultAnnotations: {} }]]),
      workloads: new Map(),
    } as unknown as ConstructorParameters<typeof AnnotationGate>[0],
  );
  const request = {
    pod: { runtimeHandler: "crun", namespace: "team", annotations: {} },
    spec: { security: { privileged: false, ...security }, metadata: { name: "app" } },
    image: { annotations: image },
    annotations,
    signal: new AbortController().signal,
  };
  return seccompArtifactOf({
    annotations: gate,
    seccompArtifacts: {
      seccompProfile: (reference, { namespace }) =>
        reference === "bad" ? Promise.reject(new Error("no")) : Promise.resolve(`${reference} for ${namespace}`),
    },
  }, request as unknown as SeccompArtifactRequest);
}

Deno.test("seccompArtifactOf() counts only for containers that are unconfined and not privileged", async () => {
  const found = { ref: "x/profile:1", text: "x/profile:1 for team" };
  deepEqual(await ask({}), found);
  deepEqual(await ask({ security: { seccomp: { kind: "unconfined" } } }), found);
  for (const seccomp of [{ kind: "runtimeDefault" }, { kind: "localhost", ref: "/x" }]) {
    equal(await ask({ security: { seccomp } }), undefined);
  }
  equal(await ask({ security: { privileged: true } }), undefined);
  equal(await ask({ annotations: {} }), undefined);
});

Deno.test("seccompArtifactOf() takes an image's annotation only where the handler allows it, and names what fails", async () => {
  const image = { [KEY]: "x/image:1" };
  deepEqual(await ask({ annotations: {}, image }), { ref: "x/image:1", text: "x/image:1 for team" });
  equal(await ask({ annotations: {}, image, allowed: [] }), undefined);
  await rejects(
    ask({ annotations: { [`${KEY}/POD`]: "bad" } }),
    /seccomp profile from the artifact bad .*crio\.io.*: no/,
  );
});
