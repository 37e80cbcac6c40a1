/** Image references: each is refused, or has one canonical form that reads back as itself and can be asked for. */
import { parseReference } from "../../src/image/reference.ts";
import * as reference from "../../src/image/reference.ts";
import { apiHost } from "../../src/image/distribution/certificates.ts";
import { candidates, endpointsOf } from "../../src/image/registries/endpoints.ts";
import { mergeRegistries, parseRegistries } from "../../src/image/registries/registries_conf.ts";
import { shownName } from "../../src/image/shown_name.ts";
import type { Random } from "./random.ts";
import {
  type Bytes,
  Fault,
  type FuzzSession,
  type FuzzTarget,
  type Reached,
  refusable,
  requireSame,
} from "./target.ts";
import { mutateText } from "./trees.ts";

export const REFERENCE: FuzzTarget = {
  name: "reference",
  open: () => Promise.resolve(new ReferenceSession()),
};

const HEX = "0123456789abcdef".repeat(8);
const PIECES = [
  ...[
    ":",
    "/",
    "@",
    ".",
    "-",
    "_",
    "__",
    "[::1]",
    "..",
    "//",
    ":5000",
    ":99999",
    "%00",
    "\0",
    "é",
    "@sha256:",
    "sha512:",
  ],
  ...[
    "localhost",
    "docker.io/",
    "index.docker.io/",
    "library/",
    "A",
    " ",
    "*",
    "xn--",
    "0x7f.1",
    "a".repeat(255),
    "?",
    "#",
  ],
] as const;
const HOSTS = [
  ...["", "", "docker.io/", "index.docker.io/", "localhost/", "localhost:5000/", "registry.example/", "UPPER/"],
  ...["127.0.0.1:5000/", "[2001:db8::1]:443/", "a.b-c.example:8443/", "host:80/", "256.1.1.1/", "xn--a.example/"],
] as const;
const CONFIG = mergeRegistries([parseRegistries(
  `unqualified-search-registries = ["docker.io", "quay.example:5000"]
short-name-mode = "permissive"
[aliases]
"app" = "registry.example/team/app"
[[registry]]
prefix = "*.example"
[[registry]]
prefix = "docker.io"
[[registry.mirror]]
location = "mirror.example:5000/hub"
`,
  "registries.conf",
)]);

class ReferenceSession implements FuzzSession {
  generate(random: Random): Bytes {
    let text = anyReference(random);
    for (let changes = random.pick([0, 0, 1, 1, 2, 5]); changes > 0; changes--) text = mutateText(text, random, PIECES);
    return new TextEncoder().encode(text);
  }

  async run(input: Bytes): Promise<Reached> {
    const text = new TextDecoder().decode(input);
    const parsed = await refusable(() => parseReference(text));
    if (parsed === undefined) return "refused";
    requireRoundTrip(parsed);
    const places = await refusable(() =>
      candidates(text, { config: CONFIG }).flatMap((one) => endpointsOf(one, CONFIG)).map(({ host }) => host)
    );
    for (const host of places ?? []) {
      // The path is one of URLs by its grammar; the host need not be.
      if (URL.parse(`https://${apiHost(host)}/v2/`) === null) throw new Fault(`${host} can be in no URL`);
    }
    return places === undefined ? "past" : "accepted";
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function requireRoundTrip(parsed: reference.ImageReference): void {
  const { canonical, familiar, pullTarget, withDefaultTag } = reference;
  requireSame(parseReference(canonical(parsed)), parsed, "the canonical form reads back as another");
  requireSame(parseReference(familiar(parsed)), parsed, "the familiar form reads back as another");
  for (const one of [pullTarget(parsed), withDefaultTag(parsed)]) {
    requireSame(parseReference(canonical(one)), one, "what is pulled reads back as another");
  }
  const { repository } = parsed;
  requireSame(
    `${reference.domainOf(parsed)}/${reference.pathOf(parsed)}`,
    repository,
    "host and path are not the name",
  );
  const known = { id: HEX.slice(0, 64), names: [canonical(pullTarget(parsed))], repoDigests: [] };
  requireSame(shownName(known, canonical(parsed)).name, known.names[0], "the image is not known by its name");
}

function anyReference(random: Random): string {
  const host = random.pick(HOSTS);
  const component = (): string =>
    random.pick(["library", "app", "a", "a-b", "a__b", "a.b", "0", "a--b", "team", HEX.slice(0, 64), "x".repeat(60)]);
  const path = random.times(random.between(1, 3), component).join("/");
  const tag = random.pick(["", "", ":latest", ":v1.2.3", ":_x", ":A-b", `:${"t".repeat(128)}`, ":"]);
  const digest = random.pick(["", "", "", `@sha256:${HEX.slice(0, 64)}`, `@sha512:${HEX}`, `@sha256:${HEX}`, "@"]);
  return `${host}${path}${tag}${digest}`;
}
