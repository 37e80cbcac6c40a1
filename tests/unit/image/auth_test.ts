import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { authFiles, credentialsFromFiles, parseAuthFile } from "../../../src/image/auth/auth_file.ts";
import { parseChallenges } from "../../../src/image/distribution/challenge.ts";
import { proxyFor, proxySettings } from "../../../src/image/distribution/proxy.ts";
import { RegistryError } from "../../../src/image/distribution/registry_error.ts";
import { parseRetryAfter, waitBefore } from "../../../src/image/distribution/retry.ts";
import { pinnedMatcher } from "../../../src/image/pinned.ts";
import { burstCommand, selfCommand } from "../../../src/linux/self.ts";

const auth = (text: string): string => btoa(text);

Deno.test("credentialsFromFiles() takes the longest entry, and old spellings of Docker Hub", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      file,
      JSON.stringify({
        auths: {
          "https://index.docker.io/v1/": { auth: auth("hub:1") },
          "r.example:5000": { auth: auth("host:2") },
          "r.example:5000/team": { auth: auth("team:a:b") },
          "idp.example": { identitytoken: "tok", auth: auth("x:y") },
          "empty.example": {},
        },
      }),
    );
    const find = async (name: string): Promise<unknown> => {
      const found = await credentialsFromFiles(name, { globalFile: file, environment: {} });
      return found === undefined
        ? undefined
        : found.kind === "basic"
        ? `${found.username} ${found.password}`
        : found.token;
    };
    equal(await find("docker.io/library/busybox"), "hub 1");
    equal(await find("r.example:5000/x"), "host 2");
    equal(await find("r.example:5000/team/x"), "team a:b");
    equal(await find("r.example:5000/teams"), "host 2");
    equal(await find("idp.example/x"), "tok");
    equal(await find("empty.example/x"), undefined);
    equal(await find("r.example/x"), undefined);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("authFiles() looks where the environment says, and a named file must exist", async () => {
  deepEqual(authFiles({ environment: { HOME: "/root" } }).map((f) => f.path), [
    "/run/containers/0/auth.json",
    "/root/.config/containers/auth.json",
    "/root/.docker/config.json",
  ]);
  deepEqual(authFiles({ environment: { REGISTRY_AUTH_FILE: "/a" } }), [{ path: "/a", required: true }]);
  await rejects(credentialsFromFiles("a/b", { globalFile: "/nonexistent", environment: {} }), /\/nonexistent/);
  equal(
    await credentialsFromFiles("a/b", { environment: { HOME: "/nonexistent", XDG_RUNTIME_DIR: "/nonexistent" } }),
    undefined,
  );
});

Deno.test("parseAuthFile() never repeats a secret in its errors", () => {
  for (
    const text of [
      `{"auths":{"a":{"auth":"topsecret"}}}`,
      `topsecret`,
      `{"auths":{"a":{"auth":"${auth("topsecret")}"}}}`,
    ]
  ) {
    throws(() => parseAuthFile(text, "/f"), (error: Error) => {
      ok(!error.message.includes("topsecret"));
      return error.message.includes("/f");
    });
  }
});

Deno.test("parseChallenges() reads what registries send", () => {
  const read = (header: string): unknown =>
    parseChallenges(header).map((c) => [c.scheme, Object.fromEntries(c.parameters)]);
  deepEqual(read(`Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"`), [
    ["bearer", { realm: "https://a/t", service: "s", scope: "repository:x:pull,push" }],
  ]);
  deepEqual(read(`Basic realm="a \\"b\\", c", BEARER realm=https://x/t , service=y`), [
    ["basic", { realm: `a "b", c` }],
    ["bearer", { realm: "https://x/t", service: "y" }],
  ]);
  deepEqual(read("Negotiate, Basic"), [["negotiate", {}], ["basic", {}]]);
  for (const odd of ["", ",,,", `Bearer realm="cut`, `="x"`, "\u0000", `Bearer realm=`]) ok(Array.isArray(read(odd)));
});

Deno.test("proxyFor() reads the variables as Go does", () => {
  const settings = proxySettings({
    HTTP_PROXY: "http://u:p%40@proxy:3128",
    https_proxy: "proxy2:3128",
    NO_PROXY: "10.0.0.0/8, .corp.example,exact.example:8443, 192.168.1.1 ,fd00::/8,*.star.example",
  });
  const via = (url: string): string | undefined => proxyFor(new URL(url), settings)?.url.host;
  equal(via("http://quay.io/"), "proxy:3128");
  equal(via("https://quay.io/"), "proxy2:3128");
  deepEqual(proxyFor(new URL("http://quay.io/"), settings)?.basicAuth, { username: "u", password: "p@" });
  for (
    const direct of [
      "http://localhost:5000/",
      "http://127.0.0.9/",
      "http://[::1]/",
      "http://10.1.2.3/",
      "http://a.corp.example/",
      "https://exact.example:8443/",
      "http://192.168.1.1:5000/",
      "http://[fd12::1]/",
      "https://x.star.example/",
    ]
  ) equal(via(direct), undefined, direct);
  for (
    const proxied of [
      "http://11.0.0.1/",
      "http://corp.example/",
      "https://exact.example/",
      "http://192.168.1.10/",
      "http://[fe80::1]/",
    ]
  ) {
    ok(via(proxied) !== undefined, proxied);
  }
  equal(proxyFor(new URL("http://quay.io/"), { httpProxy: "http://p", noProxy: "*" }), undefined);
  equal(proxyFor(new URL("http://quay.io/"), {}), undefined);
  throws(
    () => proxyFor(new URL("http://quay.io/"), { httpProxy: "ftp://p:secret@x" }),
    (error: Error) => !error.message.includes("secret"),
  );
});

Deno.test("waitBefore() doubles with jitter, obeys Retry-After, and gives up", () => {
  const error = (more: object): RegistryError =>
    new RegistryError("x", { kind: "unavailable", retriable: true, endpoint: "e", ...more });
  const policy = { baseMs: 100, maxMs: 350, random: () => 1 };
  deepEqual([1, 2, 3, 4, 5].map((attempt) => waitBefore(error({}), { attempt, policy })), [
    100,
    200,
    350,
    350,
    undefined,
  ]);
  equal(waitBefore(error({}), { attempt: 1, policy: { ...policy, random: () => 0 } }), 50);
  equal(waitBefore(error({ retryAfterMs: 3000 }), { attempt: 1, policy }), 3000);
  equal(waitBefore(error({ retryAfterMs: 3_600_000 }), { attempt: 1, policy }), undefined);
  equal(waitBefore(error({ retriable: false }), { attempt: 1, policy }), undefined);
  equal(waitBefore(new Error("x"), { attempt: 1, policy }), undefined);
  deepEqual(["5", "Thu, 01 Jan 1970 00:00:10 GMT", "soon", undefined].map((text) => parseRetryAfter(text, 4000)), [
    5000,
    6000,
    undefined,
    undefined,
  ]);
});

Deno.test("pinnedMatcher() knows exact names, globs and keywords, in any case", () => {
  const pinned = (pattern: string, name: string): boolean => pinnedMatcher([pattern])([name]);
  ok(pinned("busybox:latest", "docker.io/library/busybox:latest"));
  ok(pinned("registry.k8s.io/PAUSE:3.10", "registry.k8s.io/pause:3.10"));
  ok(pinned("quay.io/team/*", "quay.io/team/app:1"));
  ok(pinned("*pause*", "x.example/my-pause-image:2"));
  ok(!pinned("quay.io/team", "quay.io/team/app:1"));
  ok(!pinned("*pause", "x.example/pause:1"));
  ok(!pinnedMatcher([])(["a"]));
});

Deno.test("selfCommand() starts this program again", () => {
  equal(selfCommand()[0], Deno.execPath());
  Deno.env.set("CRIO_SELF", `["/opt/crio","x"]`);
  try {
    deepEqual(selfCommand(), ["/opt/crio", "x"]);
    Deno.env.set("CRIO_SELF", `["/opt/crio","--v8-flags=--max-semi-space-size=2","x"]`);
    deepEqual(burstCommand(), ["/opt/crio", "--v8-flags=--max-semi-space-size=16", "x"]);
    Deno.env.set("CRIO_SELF", "crio");
    throws(() => selfCommand(), /CRIO_SELF/);
  } finally {
    Deno.env.delete("CRIO_SELF");
  }
});
