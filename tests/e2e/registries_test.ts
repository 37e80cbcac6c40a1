/** What a kubelet sees of registries, mirrors and credentials, through the daemon's own configuration and socket. */
import assert from "node:assert/strict";
import { AuthConfig, ImageSpec, PodSandboxConfig, PodSandboxMetadata } from "../../src/cri/gen/api.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { buildTar } from "../fakes/tar.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";

const UNKNOWN = 2;
const INVALID_ARGUMENT = 3;
const account = { username: "ann", password: "s3cret-of-ann" };

/** What the client gets as `code` and `details`. */
async function failureOf(call: Promise<unknown>): Promise<{ code: number; details: string }> {
  const [result] = await Promise.allSettled([call]);
  assert.equal(result?.status, "rejected");
  return (result as PromiseRejectedResult).reason.cause;
}

function pull(
  lab: Lab,
  image: string,
  how: { auth?: AuthConfig; namespace?: string } = {},
): Promise<{ imageRef: string }> {
  const { auth, namespace } = how;
  const metadata = message(PodSandboxMetadata, { name: "pod", uid: "1", namespace: namespace ?? "" });
  return lab.daemon.client.call("pullImage", {
    image: message(ImageSpec, { image }),
    ...(auth === undefined ? {} : { auth }),
    ...(namespace === undefined ? {} : { sandboxConfig: message(PodSandboxConfig, { metadata }) }),
  });
}

const table = (location: string, mirror?: string): string =>
  `[[registry]]\nlocation = "${location}"\ninsecure = true\n` +
  (mirror === undefined ? "" : `[[registry.mirror]]\nlocation = "${mirror}"\ninsecure = true\n`);

Deno.test("registries, mirrors and credentials", async (t) => {
  await using lab = await Lab.start({
    dropIn: (directory) => `[crio.image]\nnamespaced_auth_dir = "${directory}/auth"\n`,
    prepare: (directory) => Deno.mkdir(`${directory}/auth`),
  });
  await using registry = await FakeRegistry.start({ auth: { kind: "basic", account } });
  const layers = [buildTar([{ name: "file", body: "text" }])];
  const built = registry.addImage({ name: "app", layers });
  const configure = (text: string): Promise<void> => Deno.writeTextFile(`${lab.directory}/registries.conf`, text);

  await t.step("a place that is dead is RegistryUnavailable, and the text names all that was tried", async () => {
    await configure(table("127.0.0.1:2", "127.0.0.1:1/mirror"));
    const { code, details } = await failureOf(pull(lab, "127.0.0.1:2/app:1"));
    assert.equal(code, UNKNOWN);
    assert.match(
      details,
      /^RegistryUnavailable: pull 127\.0\.0\.1:2\/app:1: none of 2 endpoints has it: mirror 127\.0\.0\.1:1: .*refused.*; 127\.0\.0\.1:2: .*refused/i,
    );
  });

  await t.step("a change of the file counts for the next pull", async () => {
    await configure(table("images.example/team", `${registry.host}`));
    const auth = message(AuthConfig, { ...account, serverAddress: registry.host });
    const refused = await failureOf(pull(lab, "images.example/team/app", { auth: message(AuthConfig, account) }));
    assert.match(refused.details, /401 \(no credentials were given\)/);
    await configure(table(registry.host));
    const { imageRef } = await pull(lab, built.reference, { auth });
    assert.equal(`sha256:${imageRef}`, built.config.digest);
  });

  await t.step("one-shot credentials of a namespace serve one pull", async () => {
    const name = new TextEncoder().encode(`${registry.host}/app`);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", name)).toHex();
    const auths = { [registry.host]: { auth: btoa(`${account.username}:${account.password}`) } };
    await Deno.writeTextFile(`${lab.directory}/auth/team-${hash}.json`, JSON.stringify({ auths }));
    await failureOf(pull(lab, built.reference, { namespace: "other" }));
    await pull(lab, built.reference, { namespace: "team" });
    const { details } = await failureOf(pull(lab, built.reference, { namespace: "team" }));
    assert.match(details, /401/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${lab.directory}/auth/in-use`)), []);
  });

  await t.step("a short name that may mean several images is refused with what to write", async () => {
    await configure(`unqualified-search-registries = ["a.example", "b.example"]`);
    const { code, details } = await failureOf(pull(lab, "app"));
    assert.equal(code, INVALID_ARGUMENT);
    assert.match(details, /^short name mode is enforcing.*a\.example, b\.example.*"app" = "a\.example\/app"/);
  });

  await t.step("a file that is wrong leaves what was in force, and is told", async () => {
    await configure(`unqualified-search-registries = [`);
    assert.match((await failureOf(pull(lab, "app"))).details, /^short name mode is enforcing/);
    const log = await Deno.readTextFile(lab.daemon.logPath);
    assert.match(
      log,
      /level=error msg="registries configuration is wrong, the last good one stays in force: .*registries\.conf:1:/,
    );
    assert.match(log, /msg="Trying to access \\"127\.0\.0\.1:\d+\/app:latest\\"" .*mirror=false/);
  });

  await t.step("no secret is in the log, at its most talkative", async () => {
    const log = await Deno.readTextFile(lab.daemon.logPath);
    assert.ok(log.includes("level=debug"));
    for (const secret of [account.password, btoa(`${account.username}:${account.password}`)]) {
      assert.ok(!log.includes(secret));
    }
  });
});
