/** policy.json: refused as a whole with the file's name, or a policy that lets nothing in for a reason that it does not have. */
import { acceptsEverything, demandOf, PolicyError } from "../../src/image/policy/policy.ts";
import { parsePolicy, type Policy } from "../../src/image/policy/parse_policy.ts";
import { dockerSubject, pathSubject } from "../../src/image/policy/scopes.ts";
import { parseReference } from "../../src/image/reference.ts";
import type { Random } from "./random.ts";
import { type Bytes, Fault, type FuzzSession, type FuzzTarget, type Reached, requireTyped } from "./target.ts";
import { mutateText, mutateTree, printJson, type Tree, type Vocabulary } from "./trees.ts";

export const POLICY: FuzzTarget = {
  name: "policy",
  open: () => Promise.resolve(new PolicySession()),
};

const FILE = "/etc/containers/policy.json";
const DIGEST = `sha256:${"a".repeat(64)}`;
const KEY = btoa("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
const WORDS: Vocabulary = {
  keys: [
    ...(["default", "transports", "docker", "type", "keyType", "keyPath", "keyPaths", "keyData", "keyDatas"] as const),
    ...[
      "signedIdentity",
      "dockerReference",
      "dockerRepository",
      "prefix",
      "signedPrefix",
      "fulcio",
      "pki",
      "caPath",
      "caData",
    ],
    ...["oidcIssuer", "subjectEmail", "rekorPublicKeyPath", "rekorPublicKeyData", "dir", "oci", "", "registry.example"],
  ],
  values: [
    { type: "reject" },
    { type: "insecureAcceptAnything" },
    [{ type: "reject" }],
    [],
    ...[
      "insecureAcceptAnything",
      "reject",
      "signedBy",
      "sigstoreSigned",
      "signedBaseLayer",
      "GPGKeys",
      "matchExact",
      "matchRepository",
    ],
    ...[
      "exactReference",
      "remapIdentity",
      "/etc/keys/a.pub",
      "registry.example/team",
      `registry.example/x@${DIGEST}`,
      KEY,
      "!!!",
      "a=b",
    ],
    ...[{}, [{}], null, [[]], { type: "exactRepository", dockerRepository: "registry.example/x" }],
  ],
};
const SIGNED_BY: Tree = { type: "signedBy", keyType: "GPGKeys", keyPath: "/etc/keys/a.gpg" };
const BASES: readonly [Tree, ...Tree[]] = [
  { default: [{ type: "reject" }] },
  {
    default: [{ type: "reject" }],
    transports: {
      docker: {
        "registry.example": [SIGNED_BY],
        "registry.example/team/app": [{
          ...SIGNED_BY,
          signedIdentity: { type: "remapIdentity", prefix: "registry.example", signedPrefix: "vendor.example/x" },
        }],
        "*.wild.example": [{ type: "sigstoreSigned", keyData: KEY, signedIdentity: { type: "matchRepository" } }],
        "docker.io/library": [{ type: "insecureAcceptAnything" }],
        "": [{ type: "insecureAcceptAnything" }],
      },
      dir: { "/srv/images": [{ type: "insecureAcceptAnything" }] },
      "docker-archive": { "": [{ type: "reject" }] },
    },
  },
  {
    default: [{ type: "insecureAcceptAnything" }],
    transports: {
      docker: {
        "registry.example/x:tag": [{
          type: "signedBy",
          keyType: "GPGKeys",
          keyPaths: ["/a", "/b"],
          signedIdentity: { type: "exactReference", dockerReference: "registry.example/x:tag" },
        }],
        "registry.example": [{
          type: "sigstoreSigned",
          fulcio: { caData: KEY, oidcIssuer: "https://i.example", subjectEmail: "a@b.example" },
          rekorPublicKeyData: KEY,
        }],
      },
    },
  },
];
const PIECES = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "null",
  "//",
  "\\u0022",
  "\n",
  '"default":[{"type":"insecureAcceptAnything"}],',
  "\ufeff",
  "0",
  "'",
] as const;
const IMAGES = [
  "registry.example/team/app:v1",
  "registry.example/x:tag",
  "a.wild.example/y:1",
  "docker.io/library/busybox:1",
  `other.example/z@${DIGEST}`,
] as const;
const SUBJECTS = [
  ...IMAGES.map((image) => dockerSubject(parseReference(image))),
  pathSubject("dir", "/srv/images/a"),
  pathSubject("docker-archive", "/srv/b.tar"),
  pathSubject("oci", "/srv/c", { image: "tag" }),
];

class PolicySession implements FuzzSession {
  generate(random: Random): Bytes {
    const tree = mutateTree(random.pick(BASES), random, { ...WORDS, changes: random.below(5) });
    let text = printJson(tree, random);
    for (let changes = random.pick([0, 0, 0, 0, 1, 2]); changes > 0; changes--) text = mutateText(text, random, PIECES);
    return new TextEncoder().encode(text);
  }

  run(input: Bytes): Promise<Reached> {
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(input);
    const document = parsed(text);
    let policy: Policy;
    try {
      policy = parsePolicy(text, FILE);
    } catch (error) {
      const { kind, message } = requireTyped(error);
      if (kind !== "failed_precondition" || !message.includes(FILE)) throw new Fault(`${kind}: ${message}`);
      return Promise.resolve(document === undefined ? "refused" : "past");
    }
    if (document === undefined) throw new Fault("it is no JSON, and was taken");
    for (const subject of SUBJECTS) requireRight(policy, subject, document);
    return Promise.resolve("accepted");
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

interface Entry {
  readonly type: string;
}
interface Document {
  readonly default: readonly Entry[];
  readonly transports?: Readonly<Record<string, Readonly<Record<string, readonly Entry[]>>>>;
}

/** The same decision, made from the document by the manual page: first scope that is there, then the default. */
function requireRight(policy: Policy, subject: (typeof SUBJECTS)[number], document: unknown): void {
  const { default: fallback, transports = {} } = document as Document;
  const scopes = Object.hasOwn(transports, subject.transport) ? transports[subject.transport] ?? {} : {};
  const scope = [...subject.scopes, ""].find((one) => Object.hasOwn(scopes, one));
  const rules = scope === undefined ? fallback : scopes[scope] ?? [];
  const wanted = rules.some(({ type }) => type === "reject" || type === "signedBaseLayer")
    ? "rejected"
    : rules.filter(({ type }) => type !== "insecureAcceptAnything").length;
  const actual = decision(policy, subject);
  if (actual !== wanted) throw new Fault(`${subject.name}: the policy says ${wanted}, it came out as ${actual}`);
  if (acceptsEverything(policy) && actual !== 0) {
    throw new Fault(`${subject.name}: it accepts everything, but not this`);
  }
}

function decision(policy: Policy, subject: (typeof SUBJECTS)[number]): "rejected" | number {
  try {
    return demandOf(policy, subject)?.requirements.length ?? 0;
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return "rejected";
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
