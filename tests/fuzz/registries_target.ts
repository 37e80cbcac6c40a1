/** registries.conf: refused with the file's name, or a configuration that asks where it says and nowhere else. */
import { parse } from "smol-toml";
import { apiHost } from "../../src/image/distribution/certificates.ts";
import { canonical, domainOf, type ImageReference, parseReference } from "../../src/image/reference.ts";
import { candidates, type Endpoint, endpointsOf, entryFor } from "../../src/image/registries/endpoints.ts";
import { mergeRegistries, parseRegistries, type RegistriesConfig } from "../../src/image/registries/registries_conf.ts";
import type { Random } from "./random.ts";
import {
  type Bytes,
  Fault,
  type FuzzSession,
  type FuzzTarget,
  type Reached,
  refusable,
  requireTyped,
} from "./target.ts";
import { printToml } from "./toml.ts";
import { mutateText, mutateTree, type Tree, type Vocabulary } from "./trees.ts";

export const REGISTRIES: FuzzTarget = {
  name: "registries",
  open: () => Promise.resolve(new RegistriesSession()),
};

const FILE = "/etc/containers/registries.conf";
const DIGEST = `sha256:${"a".repeat(64)}`;
const WORDS: Vocabulary = {
  keys: [
    ...(["registry", "mirror", "location", "prefix", "insecure", "blocked", "pull-from-mirror", "aliases"] as const),
    ...[
      "unqualified-search-registries",
      "short-name-mode",
      "credential-helpers",
      "mirror-by-digest-only",
      "registries",
    ],
    ...["search", "additional-layer-store-auth-helper", "block", "app"],
  ],
  values: [
    ...([
      "registry.example",
      "*.example",
      "mirror.example:5000/hub",
      "docker.io",
      "docker.io/library",
      "localhost:5000",
    ] as const),
    ...[
      "registry.example/team/app",
      "internal",
      "https://registry.example",
      "host/../..",
      "*",
      "*.*",
      "a*b.example",
      "256.1.1.1",
    ],
    ...[
      "registry.example/team:tag",
      `registry.example@${DIGEST}`,
      "/",
      "all",
      "digest-only",
      "tag-only",
      "enforcing",
      "permissive",
    ],
    ...["disabled", "helper", "../helper", true, false, [], {}, [{}], ["docker.io"]],
  ],
};
const BASE: Tree = {
  "unqualified-search-registries": ["docker.io", "registry.example"],
  "short-name-mode": "permissive",
  "credential-helpers": ["containers-auth.json", "ecr-login"],
  aliases: { app: "registry.example/team/app", "library/app": "docker.io/library/app", gone: "" },
  registry: [
    { prefix: "registry.example", location: "internal.example:5000", insecure: true },
    {
      location: "docker.io",
      mirror: [{ location: "mirror.example/hub", "pull-from-mirror": "digest-only" }, {
        location: "localhost:5000",
        insecure: true,
      }],
    },
    { prefix: "*.example", blocked: false },
    { prefix: "registry.example/blocked", blocked: true },
    {
      prefix: "quay.example/team",
      location: "quay.example/other",
      "mirror-by-digest-only": true,
      mirror: [{ location: "m.example" }],
    },
  ],
};
const PIECES = [
  "\n",
  "[[registry]]\n",
  "[registry]\n",
  '"',
  "'''",
  "= ",
  "#",
  "[",
  "]",
  "\\u0000",
  "\\",
  "\t",
  "é",
  "[aliases]\n",
  "prefix",
] as const;
const IMAGES = [
  ...[
    "app",
    "library/app",
    "gone",
    "app:v1",
    "registry.example/team/app:v1",
    "registry.example/blocked/x",
    "a.b.example/x",
  ],
  ...[
    `docker.io/library/busybox@${DIGEST}`,
    "docker.io/library/busybox:1",
    "quay.example/team/y:2",
    "localhost:5000/z",
    "internal/app",
  ],
] as const;

class RegistriesSession implements FuzzSession {
  generate(random: Random): Bytes {
    const tree = mutateTree(BASE, random, { ...WORDS, changes: random.below(7) });
    let text = printToml(tree, random);
    for (let changes = random.pick([0, 0, 0, 1, 2]); changes > 0; changes--) text = mutateText(text, random, PIECES);
    return new TextEncoder().encode(text);
  }

  async run(input: Bytes): Promise<Reached> {
    const text = new TextDecoder().decode(input);
    const isToml = parses(text);
    let config: RegistriesConfig;
    try {
      config = mergeRegistries([{ searchRegistries: ["docker.io"] }, parseRegistries(text, FILE)]);
    } catch (error) {
      const { message } = requireTyped(error);
      if (!message.startsWith(FILE)) throw new Fault(`the error does not name the file: ${message}`);
      return isToml ? "past" : "refused";
    }
    if (!isToml) throw new Fault("it is no TOML, and was taken");
    for (const image of IMAGES) {
      const references = await refusable(() => candidates(image, { config }));
      for (const reference of references ?? []) await requireRightPlaces(reference, config);
    }
    return "accepted";
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** Each place is the one that the entry says; a blocked one is not asked, and a mirror only for what it serves. */
async function requireRightPlaces(reference: ImageReference, config: RegistriesConfig): Promise<void> {
  const entry = entryFor(reference, config);
  const endpoints = await refusable(() => endpointsOf(reference, config));
  if (endpoints === undefined) return;
  if (entry?.blocked === true) throw new Fault(`${canonical(reference)} is blocked, and has places`);
  const mirrors = (entry?.mirrors ?? []).filter(({ pullFromMirror }) =>
    pullFromMirror === "all" || (pullFromMirror === "digest-only") === (reference.digest !== undefined)
  );
  const wanted = [...mirrors.map(({ location }) => location), entry?.location ?? domainOf(reference)];
  for (const [i, endpoint] of endpoints.entries()) requireHost(endpoint, wanted[i] ?? "nothing");
  if (endpoints.length !== wanted.length) throw new Fault(`${canonical(reference)} has ${endpoints.length} places`);
}

function requireHost({ host, path }: Endpoint, location: string): void {
  const [wanted = ""] = location.split("/");
  if (host !== wanted && !(host === "docker.io" && wanted === "index.docker.io")) {
    throw new Fault(`location ${JSON.stringify(location)}, but ${host}/${path} is asked`);
  }
  if (!URL.canParse(`https://${apiHost(host)}/v2/${path}`)) throw new Fault(`${host}/${path} can be in no URL`);
  const again = parseReference(`${host}/${path}`);
  if (again.repository !== `${host}/${path}`) throw new Fault(`${host}/${path} reads back as ${again.repository}`);
}

function parses(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}
