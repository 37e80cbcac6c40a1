import { deepEqual, equal, match, throws } from "node:assert/strict";
import fc from "fast-check";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import {
  canonical,
  domainOf,
  familiar,
  isShortName,
  parseReference,
  pathOf,
  pullTarget,
  withDefaultTag,
} from "../../../src/image/reference.ts";

const HEX = "0123456789abcdef".repeat(4);
const DIGEST = `sha256:${HEX}`;

const GOOD: ReadonlyArray<readonly [text: string, canonical: string, familiar: string]> = [
  ["busybox", "docker.io/library/busybox", "busybox"],
  ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
  ["docker.io/busybox", "docker.io/library/busybox", "busybox"],
  ["index.docker.io/busybox", "docker.io/library/busybox", "busybox"],
  ["docker.io/library/busybox:latest", "docker.io/library/busybox:latest", "busybox:latest"],
  ["user/app", "docker.io/user/app", "user/app"],
  ["docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"],
  ["localhost/app:1", "localhost/app:1", "localhost/app:1"],
  ["localhost:5000/app", "localhost:5000/app", "localhost:5000/app"],
  ["127.0.0.1:5000/bench/realistic:1", "127.0.0.1:5000/bench/realistic:1", "127.0.0.1:5000/bench/realistic:1"],
  ["[::1]:5000/app:t", "[::1]:5000/app:t", "[::1]:5000/app:t"],
  ["Registry/app", "Registry/app", "Registry/app"],
  ["registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"],
  [`quay.io/a/b@${DIGEST}`, `quay.io/a/b@${DIGEST}`, `quay.io/a/b@${DIGEST}`],
  [`busybox:1@${DIGEST}`, `docker.io/library/busybox:1@${DIGEST}`, `busybox:1@${DIGEST}`],
  ["a__b/c---d/e.f:T_ag.1-x", "docker.io/a__b/c---d/e.f:T_ag.1-x", "a__b/c---d/e.f:T_ag.1-x"],
  [`${HEX}:tag`.slice(1), `docker.io/library/${HEX.slice(1)}:tag`, `${HEX.slice(1)}:tag`],
];

for (const [text, full, short] of GOOD) {
  Deno.test(`parseReference() normalises ${text.slice(0, 60)}`, () => {
    const reference = parseReference(text);
    equal(canonical(reference), full);
    equal(familiar(reference), short);
    equal(`${domainOf(reference)}/${pathOf(reference)}`, reference.repository);
  });
}

const BAD: ReadonlyArray<readonly [text: string, reason: RegExp]> = [
  ["256.1.1.1/x", /"256.1.1.1" is not a host name/],
  ["1.2.3.4.5/x", /is not a host name/],
  ["[:::::]:80/x", /is not a host name/],
  ["xn--a.example/x", /is not a host name/],
  ["", /empty/],
  [HEX, /image id/],
  [`${HEX}:tag`, /image id/],
  ["Busybox", /lower case/],
  ["docker.io/Foo", /lower case/],
  ["a//b", /path component/],
  ["/a", /path component/],
  ["a/", /path component/],
  ["a/../b", /path component/],
  ["a/./b", /path component/],
  ["../../etc/passwd", /not a host/],
  ["a:", /not a tag/],
  ["a:-x", /not a tag/],
  ["a:" + "t".repeat(129), /not a tag/],
  ["a b", /path component/],
  ["a\nb", /path component/],
  ["a\0b", /path component/],
  ["ünicode", /path component/],
  ["a@", /digest/],
  ["a@sha256:abc", /digest/],
  [`a@sha256:${HEX.toUpperCase()}`, /digest/],
  [`a@md5:${HEX.slice(32)}`, /digest/],
  [`a@${DIGEST}@${DIGEST}`, /digest/],
  ["-host.io/a", /not a host/],
  ["-host.io:5000/a", /not a host/],
  ["host.io:99999/a", /port/],
  ["host.io:port/a", /not a host/],
  ["https://host.io/a", /not a host/],
  ["user@host.io/a", /digest/],
  ["[::1/a", /not a host/],
  ["quay.io/" + "a/".repeat(130) + "b", /longer than 255/],
  ["a".repeat(2000), /longer than 1024/],
  ["a..b/c", /not a host/],
  ["a_-b", /path component/],
  ["a/b_", /path component/],
];

for (const [text, reason] of BAD) {
  Deno.test(`parseReference() refuses ${JSON.stringify(text.slice(0, 60))}`, () => {
    throws(() => parseReference(text), (error: Error) => {
      equal(error.constructor, InvalidArgumentError);
      match(error.message, reason);
      return error.message.length < 600;
    });
  });
}

Deno.test("pullTarget() drops the tag when there is a digest and adds latest when there is nothing", () => {
  equal(canonical(pullTarget(parseReference(`a:1@${DIGEST}`))), `docker.io/library/a@${DIGEST}`);
  equal(canonical(pullTarget(parseReference("a"))), "docker.io/library/a:latest");
  equal(canonical(withDefaultTag(parseReference(`a@${DIGEST}`))), `docker.io/library/a@${DIGEST}`);
});

Deno.test("isShortName() sees a host by dot, colon, upper case or localhost", () => {
  const texts = ["busybox", "a/b", "a.b", "a.b/c", "localhost/c", "h:1/c", "Host/c"];
  deepEqual(texts.map(isShortName), [true, true, true, false, false, false, false]);
});

Deno.test("parseReference() of its canonical and familiar text is the same reference, and never throws another error", () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,5}(?:[._-][a-z0-9]{1,4}){0,2}$/);
  const host = fc.constantFrom(
    "docker.io",
    "quay.io",
    "localhost:5000",
    "10.0.0.1",
    "[fe80::1]:443",
    "Up",
    "docker.io",
  );
  const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/), { nil: undefined });
  const digest = fc.option(fc.constant(DIGEST), { nil: undefined });
  fc.assert(fc.property(host, fc.array(component, { minLength: 1, maxLength: 4 }), tag, digest, (h, path, t, d) => {
    const text = `${h}/${path.join("/")}${t === undefined ? "" : `:${t}`}${d === undefined ? "" : `@${d}`}`;
    const once = parseReference(text);
    deepEqual(parseReference(canonical(once)), once);
    deepEqual(parseReference(familiar(once)), once);
  }));
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
    try {
      const reference = parseReference(text);
      deepEqual(parseReference(canonical(reference)), reference);
    } catch (error) {
      equal((error as Error).constructor, InvalidArgumentError);
    }
  }));
});
