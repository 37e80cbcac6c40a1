import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { FakeRegistry } from "../../fakes/registry.ts";
import { sha256 } from "../../fakes/registry/content.ts";
import { buildTar } from "../../fakes/tar.ts";

const tar = buildTar([{ name: "etc/", type: "5" }, { name: "etc/hello", body: "hi\n" }]);
const account = { username: "ann", password: "s3cret:ü" };
const basic = `Basic ${new TextEncoder().encode("ann:s3cret:ü").toBase64()}`;

async function bytesOf(url: string, init: RequestInit & { client?: Deno.HttpClient } = {}): Promise<Uint8Array> {
  const response = await fetch(url, init);
  const body = new Uint8Array(await response.arrayBuffer());
  assert.ok(response.ok, `${url}: ${response.status}`);
  return body;
}

Deno.test("addImage() serves manifest, config and layers whose digests agree", async () => {
  await using registry = await FakeRegistry.start();
  const image = registry.addImage({ name: "team/app", tag: "1", layers: [tar], config: { Cmd: ["sh"] } });
  const manifest = await bytesOf(`${registry.origin}/v2/team/app/manifests/1`);
  assert.equal(sha256(manifest), image.digest);
  const { layers, config } = JSON.parse(new TextDecoder().decode(manifest));
  const blob = await bytesOf(`${registry.origin}/v2/team/app/blobs/${layers[0].digest}`);
  assert.equal(sha256(blob), layers[0].digest);
  assert.deepEqual(new Uint8Array(gunzipSync(blob)), tar);
  const document = JSON.parse(
    new TextDecoder().decode(await bytesOf(`${registry.origin}/v2/team/app/blobs/${config.digest}`)),
  );
  assert.deepEqual(document.rootfs.diff_ids, [sha256(tar)]);
  assert.deepEqual(document.config.Cmd, ["sh"]);
});

Deno.test("a tag, its digest and HEAD give the same manifest; unknown ones 404", async () => {
  await using registry = await FakeRegistry.start();
  const image = registry.addImage({ name: "a", layers: [tar], dialect: "docker", compression: "zstd" });
  assert.equal(sha256(await bytesOf(`${registry.origin}/v2/a/manifests/${image.digest}`)), image.digest);
  const head = await fetch(`${registry.origin}/v2/a/manifests/latest`, { method: "HEAD" });
  assert.equal(head.headers.get("docker-content-digest"), image.digest);
  assert.equal(head.headers.get("content-type"), "application/vnd.docker.distribution.manifest.v2+json");
  const missing = await fetch(`${registry.origin}/v2/a/manifests/other`);
  assert.equal(missing.status, 404);
  assert.equal((await missing.json()).errors[0].code, "MANIFEST_UNKNOWN");
});

Deno.test("addIndex() names the platforms of its images", async () => {
  await using registry = await FakeRegistry.start();
  const arm = { os: "linux", architecture: "arm64", variant: "v8" };
  const images = [
    registry.addImage({ name: "a", tag: "x", layers: [tar] }),
    registry.addImage({ name: "a", tag: "y", layers: [tar], platform: arm }),
  ];
  registry.addIndex({ name: "a", images });
  const index = JSON.parse(new TextDecoder().decode(await bytesOf(`${registry.origin}/v2/a/manifests/latest`)));
  assert.deepEqual(index.manifests[1].platform, arm);
  assert.equal(index.manifests[1].digest, images[1]?.digest);
});

Deno.test("Range gives the rest of a blob, and 416 behind its end", async () => {
  await using registry = await FakeRegistry.start();
  const digest = registry.addBlob(new TextEncoder().encode("0123456789"));
  const url = `${registry.origin}/v2/a/blobs/${digest}`;
  const part = await fetch(url, { headers: { range: "bytes=7-" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers.get("content-range"), "bytes 7-9/10");
  assert.equal(await part.text(), "789");
  const behind = await fetch(url, { headers: { range: "bytes=10-" } });
  await behind.body?.cancel();
  assert.equal(behind.status, 416);
  assert.deepEqual(registry.requests.map((request) => request.range), ["bytes=7-", "bytes=10-"]);
});

Deno.test("basic auth lets only the account in", async () => {
  await using registry = await FakeRegistry.start({ auth: { kind: "basic", account } });
  const refused = await fetch(`${registry.origin}/v2/`);
  await refused.body?.cancel();
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic realm=/);
  await bytesOf(`${registry.origin}/v2/`, { headers: { authorization: basic } });
  assert.deepEqual(registry.requests.map((request) => request.authorization), [undefined, basic]);
});

Deno.test("bearer auth issues tokens for a scope and honours them there only", async () => {
  await using registry = await FakeRegistry.start({ auth: { kind: "bearer", account } });
  registry.addImage({ name: "a/b", layers: [tar] });
  registry.addImage({ name: "c", layers: [tar] });
  const refused = await fetch(`${registry.origin}/v2/a/b/manifests/latest`);
  await refused.body?.cancel();
  const challenge = refused.headers.get("www-authenticate") ?? "";
  const [, realm, service, scope] = /^Bearer realm="(.+?)",service="(.+?)",scope="(.+?)"$/.exec(challenge) ?? [];
  assert.equal(scope, "repository:a/b:pull");
  const tokenUrl = `${realm}?service=${service}&scope=${scope}`;
  const anonymous = await fetch(tokenUrl);
  await anonymous.body?.cancel();
  assert.equal(anonymous.status, 401);
  const { token } = JSON.parse(
    new TextDecoder().decode(await bytesOf(tokenUrl, { headers: { authorization: basic } })),
  );
  const headers = { authorization: `Bearer ${token}` };
  await bytesOf(`${registry.origin}/v2/a/b/manifests/latest`, { headers });
  const elsewhere = await fetch(`${registry.origin}/v2/c/manifests/latest`, { headers });
  await elsewhere.body?.cancel();
  assert.match(elsewhere.headers.get("www-authenticate") ?? "", /insufficient_scope/);
  registry.expireTokens();
  const expired = await fetch(`${registry.origin}/v2/a/b/manifests/latest`, { headers });
  await expired.body?.cancel();
  assert.equal(expired.status, 401);
  assert.equal(registry.requestsTo("token").length, 2);
});

Deno.test("the token endpoint takes an OAuth2 refresh grant", async () => {
  await using registry = await FakeRegistry.start({
    auth: { kind: "bearer", identityToken: "id", field: "access_token" },
  });
  const refused = await fetch(`${registry.origin}/v2/a/tags/list`);
  await refused.body?.cancel();
  const realm = /realm="(.+?)"/.exec(refused.headers.get("www-authenticate") ?? "")?.[1] ?? "";
  const form = { grant_type: "refresh_token", service: "fake", client_id: "t", scope: "repository:a:pull" };
  const good = await bytesOf(realm, { method: "POST", body: new URLSearchParams({ ...form, refresh_token: "id" }) });
  assert.match(new TextDecoder().decode(good), /access_token/);
  const bad = await fetch(realm, { method: "POST", body: new URLSearchParams({ ...form, refresh_token: "no" }) });
  await bad.body?.cancel();
  assert.equal(bad.status, 401);
});

Deno.test("redirected blobs come from another origin that refuses credentials", async () => {
  await using registry = await FakeRegistry.start({ auth: { kind: "basic", account }, redirectBlobs: 307 });
  const image = registry.addImage({ name: "a", layers: [tar] });
  const url = `${registry.origin}/v2/a/blobs/${image.config.digest}`;
  const moved = await fetch(url, { redirect: "manual", headers: { authorization: basic } });
  await moved.body?.cancel();
  assert.equal(moved.status, 307);
  const location = moved.headers.get("location") ?? "";
  assert.notEqual(new URL(location).host, registry.host);
  assert.equal(sha256(await bytesOf(location)), image.config.digest);
  const leaked = await fetch(location, { headers: { authorization: basic } });
  await leaked.body?.cancel();
  assert.equal(leaked.status, 400);
});

Deno.test("TLS is trusted with the authority's certificate and not without", async () => {
  await using registry = await FakeRegistry.start({ tls: true });
  await assert.rejects(fetch(`${registry.origin}/v2/`), TypeError);
  using client = Deno.createHttpClient({ caCerts: [registry.caPem ?? ""] });
  await bytesOf(`${registry.origin}/v2/`, { client });
});
