import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { AuthFile, authFiles, readAuthFile } from "../../../src/image/auth/auth_file.ts";
import { registryKey } from "../../../src/image/auth/credentials.ts";
import { parseChallenges } from "../../../src/image/distribution/challenge.ts";
import { proxyFor, proxySettings } from "../../../src/image/distribution/proxy.ts";
import { RegistryError } from "../../../src/image/distribution/registry_error.ts";
import { parseRetryAfter, waitBefore } from "../../../src/image/distribution/retry.ts";
import { pinnedMatcher } from "../../../src/image/pinned.ts";
import { burstCommand, selfCommand } from "../../../src/linux/self.ts";

const auth = (text: string): string => btoa(text);

const fileOf = (document: unknown, options: { legacy?: boolean } = {}): AuthFile =>
  new AuthFile(document as Record<string, unknown>, { path: "/f", ...options });

Deno.test("AuthFile.find() takes the longest entry, and old spellings of Docker Hub", () => {
  const file = fileOf({
    auths: {
      "https://index.docker.io/v1/": { auth: auth("hub:1") },
      "r.example:5000": { auth: auth("host:2") },
      "r.example:5000/team": { auth: auth("team:a:b") },
      "idp.example": { identitytoken: "tok", auth: auth("x:y") },
      "bearer.example": { registrytoken: "reg" },
      "empty.example": {},
      "r.example:5000/public": {},
    },
  });
  const find = (name: string): string | undefined => {
    const found = file.find(name);
    if (found?.kind !== "credentials") return found?.kind;
    const { credentials } = found;
    return credentials.kind === "basic" ? `${credentials.username} ${credentials.password}` : credentials.token;
  };
  equal(find("docker.io/library/busybox"), "hub 1");
  equal(find("r.example:5000/x"), "host 2");
  equal(find("r.example:5000/team/x"), "team a:b");
  equal(find("r.example:5000/teams"), "host 2");
  equal(find("idp.example/x"), "tok");
  equal(find("bearer.example/x"), "reg");
  equal(find("empty.example/x"), undefined);
  equal(find("r.example:5000/public/x"), undefined);
  equal(find("r.example/x"), undefined);
});

Deno.test("registryKey() is a host and nothing besides", () => {
  const keys = ["https://ann:pass@R.example:5000/v1/", "r.example:5000", "http://r.example:5000/x"].map(registryKey);
  deepEqual(new Set(keys), new Set(["r.example:5000"]));
  equal(registryKey("https://index.docker.io/v1/"), "docker.io");
});

Deno.test("AuthFile.find() gives the helper of the host first, and the one for all hosts last", () => {
  const file = fileOf({
    auths: { "a.example": { auth: auth("a:1") }, "b.example": { auth: auth("b:2") }, "c.example": {} },
    credHelpers: { "a.example": "cloud", "https://index.docker.io/v1/": "hub" },
    credsStore: "pass",
  });
  const helper = (helper: string, server: string): unknown => ({ kind: "helper", helper, server });
  deepEqual(file.find("a.example/x"), helper("cloud", "a.example"));
  deepEqual(file.find("docker.io/library/x"), helper("hub", "https://index.docker.io/v1/"));
  equal(file.find("b.example/x")?.kind, "credentials");
  deepEqual(file.find("c.example/x"), helper("pass", "c.example"));
  deepEqual(fileOf({ credsStore: "pass" }).find("docker.io/x"), helper("pass", "https://index.docker.io/v1/"));
});

Deno.test("AuthFile.find() reads the hosts of .dockercfg at its top", () => {
  equal(fileOf({ "r.example": { auth: auth("a:b") } }, { legacy: true }).find("r.example/x")?.kind, "credentials");
  equal(fileOf({ "r.example": { auth: auth("a:b") } }).find("r.example/x"), undefined);
});

Deno.test("authFiles() looks where the environment says, and in root's home without one", () => {
  const paths = (environment: Record<string, string>): string[] => authFiles({ environment }).map(({ path }) => path);
  deepEqual(paths({}), [
    "/run/containers/0/auth.json",
    "/root/.config/containers/auth.json",
    "/root/.docker/config.json",
    "/root/.dockercfg",
  ]);
  deepEqual(paths({ HOME: "/h", XDG_RUNTIME_DIR: "/r", XDG_CONFIG_HOME: "/c", DOCKER_CONFIG: "/d" }), [
    "/r/containers/auth.json",
    "/c/containers/auth.json",
    "/d/config.json",
    "/h/.dockercfg",
  ]);
  deepEqual(authFiles({ environment: { REGISTRY_AUTH_FILE: "/a" } }), [{ path: "/a", required: true }]);
  deepEqual(authFiles({ environment: {}, globalFile: "/g" }), [{ path: "/g", required: true }]);
});

Deno.test("a bad auth file never repeats a secret in its error, and a bad entry spoils its own registry only", async () => {
  const file = await Deno.makeTempFile();
  try {
    for (const text of [`topsecret`, `"topsecret"`, `{"auths":{"a":{"auth":"topsecret"}}`]) {
      await Deno.writeTextFile(file, text);
      await rejects(
        readAuthFile({ path: file, required: true }),
        (error: Error) => !error.message.includes("topsecret") && error.message.includes(file),
      );
    }
  } finally {
    await Deno.remove(file);
  }
  for (const entry of ["topsecret", auth("topsecret")]) {
    const mixed = fileOf({ auths: { "a.example": { auth: entry }, "b.example": { auth: auth("b:2") } } });
    throws(() => mixed.find("a.example/x"), (error: Error) => {
      ok(!error.message.includes("topsecret"));
      return error.message.includes("/f") && error.message.includes("a.example");
    });
    equal(mixed.find("b.example/x")?.kind, "credentials");
  }
  equal(await readAuthFile({ path: "/nonexistent/auth.json", required: false }), undefined);
  await rejects(readAuthFile({ path: "/nonexistent/auth.json", required: true }), /\/nonexistent/);
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
