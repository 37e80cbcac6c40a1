import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { parsePolicy } from "../../../../src/image/policy/parse_policy.ts";
import {
  acceptsEverything,
  demandOf,
  loadPolicy,
  namespacePolicyFile,
  systemPolicyFile,
} from "../../../../src/image/policy/policy.ts";
import type { TrustDemand } from "../../../../src/image/policy/requirement.ts";
import { dockerSubject, pathSubject, type PolicySubject } from "../../../../src/image/policy/scopes.ts";
import { parseReference } from "../../../../src/image/reference.ts";

const ACCEPT = [{ type: "insecureAcceptAnything" }];
const REJECT = [{ type: "reject" }];
const SIGNED = { type: "sigstoreSigned", keyPath: "/k" };

function ask(document: unknown, subject: string | PolicySubject): TrustDemand | undefined {
  const policy = parsePolicy(JSON.stringify(document), "p.json");
  return demandOf(policy, typeof subject === "string" ? dockerSubject(parseReference(subject)) : subject);
}

Deno.test("demandOf() takes the most particular scope", () => {
  const docker = {
    "": REJECT,
    "docker.io": ACCEPT,
    "docker.io/library": REJECT,
    "docker.io/library/busybox": ACCEPT,
    "docker.io/library/busybox:evil": REJECT,
    "*.example.com": ACCEPT,
    "bad.example.com": REJECT,
  };
  const policy = { default: REJECT, transports: { docker } };
  for (const name of ["busybox:1", "team/app:1", "a.b.example.com/x", "x.example.com/y/z:1", "x.example.com:5000/y"]) {
    equal(ask(policy, name), undefined, name);
  }
  for (const name of ["busybox:evil", "alpine", "quay.io/x", "example.com/x", "bad.example.com/x"]) {
    throws(() => ask(policy, name), { kind: "signature_validation_failed" }, name);
  }
});

Deno.test("demandOf() takes a directory before its parents", () => {
  const policy = {
    default: ACCEPT,
    transports: {
      oci: { "/images": REJECT, "/images/team:one": ACCEPT, "/images/free": ACCEPT },
      dir: { "/images": REJECT },
      "docker-archive": { "": REJECT },
    },
  };
  equal(ask(policy, pathSubject("oci", "/images/team", { image: "one" })), undefined);
  equal(ask(policy, pathSubject("oci", "/images/free/deep")), undefined);
  equal(ask(policy, pathSubject("dir", "/elsewhere")), undefined);
  equal(ask(policy, pathSubject("oci-archive", "/images/a.tar")), undefined);
  throws(() => ask(policy, pathSubject("oci", "/images/team", { image: "two" })), /oci:\/images\/team:two is rejected/);
  throws(() => ask(policy, pathSubject("dir", "/images/x")), /dir scope "\/images"/);
  throws(() => ask(policy, pathSubject("docker-archive", "/any.tar")), /docker-archive scope ""/);
});

Deno.test("demandOf() asks for all signatures of a list, and passes over what accepts anything", () => {
  const demand = ask({ default: [...ACCEPT, SIGNED, { ...SIGNED, keyPath: "/other" }] }, "quay.io/a/b:1");
  deepEqual([demand?.name, demand?.identity, demand?.rule], ["quay.io/a/b:1", "quay.io/a/b:1", "p.json (default)"]);
  equal(demand?.requirements.length, 2);
});

Deno.test("demandOf() refuses before it asks for signatures", () => {
  throws(() => ask({ default: REJECT }, "a"), /docker\.io\/library\/a is rejected by the policy p\.json \(default\)/);
  throws(() => ask({ default: [SIGNED, ...REJECT] }, "a"), { kind: "signature_validation_failed" });
  const base = { type: "signedBaseLayer", baseLayerIdentity: { type: "matchExact" } };
  throws(() => ask({ default: [base] }, "a"), /signed base layer .*use signedBy or sigstoreSigned/);
});

Deno.test("acceptsEverything() is true of policies without any other rule", () => {
  const parsed = (document: unknown): boolean => acceptsEverything(parsePolicy(JSON.stringify(document), "p"));
  ok(parsed({ default: ACCEPT, transports: { docker: { "": ACCEPT } } }));
  ok(!parsed({ default: ACCEPT, transports: { docker: { "quay.io": REJECT } } }));
  ok(!parsed({ default: [...ACCEPT, SIGNED] }));
});

Deno.test("systemPolicyFile() takes what the environment names, else the user's, the administrator's, the vendor's", async () => {
  const root = await Deno.makeTempDir();
  try {
    const systemDirectories = [`${root}/etc`, `${root}/usr`];
    const file = (environment: Record<string, string>): Promise<string> =>
      systemPolicyFile({ XDG_CONFIG_HOME: `${root}/home`, ...environment }, { systemDirectories });
    equal(await file({}), `${root}/etc/policy.json`, "there is none: the error names the administrator's");
    for (const directory of ["usr", "etc", "home/containers"]) {
      await Deno.mkdir(`${root}/${directory}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${directory}/policy.json`, "");
      equal(await file({}), `${root}/${directory}/policy.json`);
    }
    equal(await file({ CONTAINERS_POLICY_JSON: "/named.json" }), "/named.json");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("namespacePolicyFile() finds files of namespaces only", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/team.json`, "");
    equal(await namespacePolicyFile(directory, "team"), `${directory}/team.json`);
    for (const name of ["", "other", "../team", "TEAM", "team/../team"]) {
      equal(await namespacePolicyFile(`${directory}`, name), undefined, name);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("loadPolicy() names a file that is not there, and one that is wrong", async () => {
  await rejects(loadPolicy("/nonexistent/policy.json"), /\/nonexistent\/policy\.json.*signature_policy/);
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "{");
    await rejects(loadPolicy(file), (error: Error) => {
      match(error.message, new RegExp(`^signature policy ${file}: it is not valid JSON`));
      return true;
    });
  } finally {
    await Deno.remove(file);
  }
});
