/** Who is let in where: credentials and certificates on their way from this node to registries, with the real process. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { PodError } from "../../src/base/errors.ts";
import type { Credentials } from "../../src/image/auth/credentials.ts";
import { Transports } from "../../src/image/distribution/transports.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { makeTestCa } from "../fakes/registry/ca.ts";
import { buildTar } from "../fakes/tar.ts";
import { type PullNode, withNode } from "./pull_node.ts";

openLibraries();

const account = { username: "ann", password: "s3cret-of-ann" };
const robot = { username: "robot", password: "s3cret-of-robot" };
const ENCODED = [account, robot].map(({ username, password }) => btoa(`${username}:${password}`));
const SECRETS = [account.password, robot.password, ...ENCODED];
const basic = ({ username, password }: typeof account): string => `Basic ${btoa(`${username}:${password}`)}`;
const layers = (text: string): Uint8Array[] => [buildTar([{ name: "file", body: text }])];

function isSecretFree(texts: readonly string[]): void {
  for (const text of texts) for (const secret of SECRETS) ok(!text.includes(secret), text);
}

function authorizations(registry: FakeRegistry): ReadonlySet<string | undefined> {
  return new Set(registry.requests.map(({ authorization }) => authorization));
}

async function writeAuth(path: string, auths: Readonly<Record<string, typeof account>>): Promise<void> {
  const entries = Object.entries(auths).map((
    [host, { username, password }],
  ) => [host, { auth: btoa(`${username}:${password}`) }]);
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  await Deno.writeTextFile(path, JSON.stringify({ auths: Object.fromEntries(entries) }));
}

const insecure = (host: string): string => `[[registry]]\nlocation = "${host}"\ninsecure = true\n`;

Deno.test("credentials reach their own registry only: no mirror, no redirect, no log, no error", async () => {
  await using mirror = await FakeRegistry.start({ auth: { kind: "basic", account: robot } });
  await using other = await FakeRegistry.start();
  const config = (host: string): string =>
    `${insecure(host)}[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n${insecure(other.host)}`;
  await withNode({ config, auth: { kind: "basic", account }, redirectBlobs: 307 }, async (node) => {
    const { images, registry, root, lines } = node;
    const spec = { name: "app", layers: layers("one") };
    const built = registry.addImage(spec);
    other.addImage(spec);
    await writeAuth(`${root}/.config/containers/auth.json`, { [mirror.host]: robot });
    // The mirror does not have it, and its manifest is somewhere else.
    const credentials = { kind: "basic", ...account } as const;
    await images.pull({ image: built.reference, credentials });
    deepEqual(authorizations(mirror), new Set([undefined, basic(robot)]));
    const own = registry.requests.filter(({ origin }) => origin === "registry");
    deepEqual(new Set(own.map(({ authorization }) => authorization)), new Set([undefined, basic(account)]));
    const stored = registry.requestsTo("storage");
    ok(stored.length >= 2);
    ok(stored.every(({ authorization }) => authorization === undefined));

    const toOther = {
      kind: "custom",
      change: () => ({ status: 302, headers: { location: `${other.origin}/v2/app/manifests/latest` } }),
    } as const;
    for (const server of [mirror, registry]) server.fail({ path: "/manifests/", effect: toOther });
    await images.pull({ image: built.reference, credentials });
    ok(other.requests.length > 0);
    deepEqual(authorizations(other), new Set([undefined]));

    for (const server of [mirror, registry]) {
      server.clearFaults();
      server.fail({ path: "/manifests/", effect: { kind: "status", status: 403 } });
    }
    await rejects(images.pull({ image: built.reference, credentials }), (error: PodError) => {
      match(error.message, /403 \(with the credentials given\).*403 \(with the credentials given\)/);
      isSecretFree([error.message, error.stack ?? "", String(error.cause)]);
      return error.kind === "permission_denied";
    });
    ok(lines.length > 10);
    isSecretFree(lines);
  });
});

Deno.test("a registry that repeats what it was told, and a token that is none, show no secret", async () => {
  const token = `${robot.password}\u0000`;
  await withNode({ auth: { kind: "bearer", account } }, async ({ images, registry, lines }) => {
    const built = registry.addImage({ name: "app", layers: layers("echo") });
    const echoed: string[] = [];
    registry.fail({
      path: "/manifests/",
      effect: {
        kind: "custom",
        change: (reply, { headers }) => {
          const header = headers.get("authorization");
          if (header === undefined) return reply;
          echoed.push(header.replace("Bearer ", ""));
          const message = `${header} is ${account.username}:${account.password} or ${ENCODED[0]}`;
          const body = new TextEncoder().encode(JSON.stringify({ errors: [{ code: header, message }] }));
          return { ...reply, status: 403, body };
        },
      },
    });
    const failure = async (credentials: Credentials): Promise<string> => {
      const [result] = await Promise.allSettled([images.pull({ image: built.reference, credentials })]);
      return result?.status === "rejected" ? `${result.reason.message} ${result.reason.codes}` : "it was pulled";
    };
    const texts = [
      await failure({ kind: "basic", ...account }),
      await failure({ kind: "registryToken", token }),
    ];
    match(texts[0] ?? "", /403 .*Bearer … is ann:… or …/);
    match(texts[1] ?? "", /the token given for .* has characters that no token has/);
    ok(echoed.length > 0 && echoed.every((one) => one !== "" && !texts.join().includes(one)));
    isSecretFree([...texts, ...lines]);
  });
});

Deno.test("a token service on another host gets the credentials of its registry, and a mirror's gets the mirror's", async () => {
  await using mirror = await FakeRegistry.start({ auth: { kind: "bearer", account: robot } });
  const config = (host: string): string =>
    `${insecure(host)}[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`;
  await withNode({ config, auth: { kind: "bearer", account } }, async ({ images, registry, root, lines }) => {
    const built = registry.addImage({ name: "app", layers: layers("two") });
    await writeAuth(`${root}/.docker/config.json`, { [mirror.host]: robot });
    await images.pull({ image: built.reference, credentials: { kind: "basic", ...account } });
    deepEqual(new Set(mirror.requestsTo("token").map(({ authorization }) => authorization)), new Set([basic(robot)]));
    deepEqual(
      new Set(registry.requestsTo("token").map(({ authorization }) => authorization)),
      new Set([basic(account)]),
    );
    isSecretFree(lines);
  });
});

Deno.test("one-shot credentials of a namespace serve its pull, mirrors included, and are gone", async () => {
  await using mirror = await FakeRegistry.start({ auth: { kind: "basic", account: robot } });
  const directory = await Deno.makeTempDir();
  const config = (host: string): string =>
    `${insecure(host)}[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`;
  try {
    await withNode({ config, images: { namespacedAuthDirectory: directory } }, async ({ images, registry, lines }) => {
      const spec = { name: "app", layers: layers("three") };
      const built = mirror.addImage(spec);
      const image = `${registry.host}/app:latest`;
      const hash = new Uint8Array(
        await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${registry.host}/app`)),
      ).toHex();
      await Deno.mkdir(`${directory}/in-use`);
      await Deno.writeTextFile(`${directory}/in-use/of-a-killed-daemon.json`, "{}");
      await writeAuth(`${directory}/team-${hash}.json`, { [mirror.host]: robot });
      await rejects(images.pull({ image, pod: { namespace: "other" } }), /401 \(no credentials were given\)/);
      const id = await images.pull({ image, pod: { namespace: "team" } });
      equal(`sha256:${id}`, built.config.digest);
      match(
        lines.find((line) => line.includes("Using auth file")) ?? "",
        /for namespace team: .*\/team-[0-9a-f]{64}\.json/,
      );
      deepEqual((await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name), ["in-use"]);
      deepEqual(await Array.fromAsync(Deno.readDir(`${directory}/in-use`)), []);
      await rejects(images.pull({ image, pod: { namespace: "team" } }), /401/);
      isSecretFree(lines);
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a helper program logs in; one that fails is named by the registry's refusal, and stops no public pull", async () => {
  const bin = await Deno.makeTempDir();
  const helper = async (name: string, script: string): Promise<void> =>
    await Deno.writeTextFile(`${bin}/docker-credential-${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const environment = { PATH: `${bin}:/usr/bin:/bin`, HOME: bin };
  try {
    await helper("good", `echo '{"Username":"${account.username}","Secret":"${account.password}"}'`);
    await helper("sick", `echo '{"Username":"x","Secret":"${robot.password}"}'; exit 1`);
    await helper("hangs", "exec sleep 600");
    await using open = await FakeRegistry.start();
    const config = (host: string): string =>
      `credential-helpers = ["sick", "hangs", "absent"]\n${insecure(host)}${insecure(open.host)}`;
    const images = { environment, helperTimeoutMs: 300 };
    await withNode({ config, images, auth: { kind: "basic", account } }, async (node) => {
      const spec = { name: "app", layers: layers("four") };
      const built = node.registry.addImage(spec);
      await node.images.pull({ image: open.addImage(spec).reference });
      await rejects(node.images.pull({ image: built.reference }), (error: PodError) => {
        match(
          error.message,
          /401 \(no credentials were found: .*-sick for .* failed.*; .*-hangs for .* no answer for 0\.3 s; .*-absent for .* not installed/,
        );
        isSecretFree([error.message]);
        return error.kind === "permission_denied";
      });
      await Deno.writeTextFile(
        `${node.root}/registries.conf`,
        `credential-helpers = ["sick", "good"]\n${insecure(node.registry.host)}`,
      );
      equal(`sha256:${await node.images.pull({ image: built.reference })}`, built.config.digest);
      isSecretFree(node.lines);
    });
  } finally {
    await Deno.remove(bin, { recursive: true });
  }
});

async function withCertificates(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const pullOnce = async ({ images, registry }: PullNode, text: string): Promise<void> => {
  const built = registry.addImage({ name: "app", layers: layers(text) });
  equal(`sha256:${await images.pull({ image: built.reference })}`, built.config.digest);
};

Deno.test("certs.d is trusted for the registry and where it sends its clients, from the next pull on", async () => {
  const ca = await makeTestCa();
  await withCertificates(async (directory) => {
    const options = {
      tls: ca,
      auth: { kind: "bearer" },
      redirectBlobs: 302,
      config: () => "",
      images: { certificateDirectories: [`${directory}/none`, directory] },
    } as const;
    await withNode(options, async (node) => {
      const { host } = node.registry;
      await rejects(pullOnce(node, "five"), (error: PodError) => {
        match(
          error.message,
          new RegExp(`UnknownIssuer.*put the authority's certificate into .*certs\\.d/${host}/ca\\.crt`),
        );
        return error.kind === "failed_precondition";
      });
      await Deno.mkdir(`${directory}/${host}`);
      await Deno.writeTextFile(`${directory}/${host}/ca.crt`, ca.caPem);
      await Deno.symlink("nowhere", `${directory}/${host}/gone.crt`);
      // Token service and storage are other ports, without directories of their own.
      await pullOnce(node, "five");
      ok(node.registry.requestsTo("token").length > 0 && node.registry.requestsTo("storage").length > 0);
      await Deno.writeTextFile(`${directory}/${host}/client.key`, "no certificate beside it");
      await rejects(pullOnce(node, "six"), /client\.key has no certificate/);
    });
  });
});

Deno.test("the system's authorities are trusted, as SSL_CERT_FILE names them", async () => {
  const ca = await makeTestCa();
  await withCertificates(async (directory) => {
    await Deno.writeTextFile(`${directory}/bundle.pem`, ca.caPem);
    const environment = { HOME: directory, SSL_CERT_FILE: `${directory}/bundle.pem` };
    await withNode({ tls: ca, config: () => "", images: { environment } }, (node) => pullOnce(node, "seven"));
  });
});

Deno.test("a proxy is used as the environment says, with its credentials, which nobody else sees", async () => {
  await using proxy = await FakeRegistry.start();
  const built = proxy.addImage({ name: "app", layers: layers("eight") });
  const environment = { HOME: "/nonexistent", HTTP_PROXY: `http://ann:${account.password}@${proxy.host}` };
  const config = (): string => insecure("images.example");
  await withNode({ config, images: { environment } }, async ({ images, lines }) => {
    equal(`sha256:${await images.pull({ image: "images.example/app" })}`, built.config.digest);
    const seen = new Set(proxy.requests.map(({ headers }) => headers.get("proxy-authorization")));
    deepEqual(seen, new Set([basic(account)]));
    proxy.fail({ effect: { kind: "status", status: 407 } });
    await rejects(images.pull({ image: "images.example/app" }), (error: PodError) => {
      isSecretFree([error.message]);
      return error.message.includes("407");
    });
    isSecretFree(lines);
  });
});

Deno.test("a client certificate of certs.d is shown to its host, verified or not, and to no other", async () => {
  const ca = await makeTestCa();
  await withCertificates(async (directory) => {
    // The server's own certificate does for the client too: the same authority signed it.
    for (const [name, text] of [["ca.crt", ca.caPem], ["server.cert", ca.cert], ["server.key", ca.key]] as const) {
      await Deno.writeTextFile(`${directory}/${name}`, text);
    }
    await Deno.writeTextFile(`${directory}/page`, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    await using server = await startStrictServer(directory);
    const ask = async (trust: { insecure: boolean; registry: string }): Promise<number> => {
      using transports = new Transports({ certificateDirectories: [`${directory}/certs.d`] });
      const url = new URL(`https://${server.host}/page`);
      const { signal } = new AbortController();
      const response = await (await transports.for(url, trust)).send({ method: "GET", url, headers: {}, signal });
      await response.body[Symbol.asyncDispose]();
      return response.status;
    };
    const place = async (host: string, names: readonly string[]): Promise<void> => {
      await Deno.mkdir(`${directory}/certs.d/${host}`, { recursive: true });
      for (const name of names) await Deno.copyFile(`${directory}/${name}`, `${directory}/certs.d/${host}/${name}`);
    };
    const registry = server.host;
    await place(registry, ["ca.crt"]);
    await rejects(ask({ insecure: false, registry }));
    await place("registry.example", ["ca.crt", "server.cert", "server.key"]);
    await rejects(ask({ insecure: false, registry: "registry.example" }));
    await place(registry, ["server.cert", "server.key"]);
    equal(await ask({ insecure: false, registry }), 200);
    equal(await ask({ insecure: true, registry }), 200);
  });
});

/** `openssl s_server`, which lets in who has a certificate: the runtime's own TLS server cannot ask for one. */
async function startStrictServer(directory: string): Promise<AsyncDisposable & { readonly host: string }> {
  const files = ["-cert", "server.cert", "-key", "server.key", "-CAfile", "ca.crt"];
  const args = ["s_server", "-accept", "127.0.0.1:0", ...files, "-Verify", "1", "-verify_return_error", "-HTTP"];
  const child = new Deno.Command("openssl", { args, cwd: directory, stdin: "null", stdout: "piped", stderr: "null" })
    .spawn();
  const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!/ACCEPT 127\.0\.0\.1:\d+/.test(text)) {
    const { value, done } = await output.read();
    if (done) throw new Error(`openssl s_server ended: ${text}`);
    text += value;
  }
  // It writes a line per connection, and must not be held up.
  const drained = (async (): Promise<void> => {
    while (!(await output.read()).done);
  })();
  return {
    host: /ACCEPT (127\.0\.0\.1:\d+)/.exec(text)?.[1] ?? "",
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGKILL");
      await Promise.all([child.status, drained]);
    },
  };
}
