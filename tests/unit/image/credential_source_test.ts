import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { CredentialSource, type FoundCredentials } from "../../../src/image/auth/credential_source.ts";
import { askHelper } from "../../../src/image/auth/docker_credential.ts";
import { takeNamespacedAuth } from "../../../src/image/auth/namespaced_auth.ts";
import { AUTH_FILES } from "../../../src/image/registries/registries_conf.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const { signal } = new AbortController();

/** A directory whose `bin/` holds helper programs, which see no other program. */
async function withHelpers(
  scripts: Readonly<Record<string, string>>,
  body: (directory: string, environment: Record<string, string>) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/bin`);
    for (const [name, script] of Object.entries(scripts)) {
      await Deno.writeTextFile(`${directory}/bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    await body(directory, { PATH: `${directory}/bin:/usr/bin:/bin`, HOME: directory });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const ANSWER =
  `read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"ann\\",\\"Secret\\":\\"for $server\\"}"`;

Deno.test("askHelper() speaks the helpers' protocol", async () => {
  const scripts = {
    good: `[ "$1" = get ] || exit 9; ${ANSWER}`,
    token: `echo '{"Username":"<token>","Secret":"t0k"}'`,
    nothing: `echo "credentials not found in native keychain"; exit 1`,
    empty: `echo '{"Username":"","Secret":""}'`,
  };
  await withHelpers(scripts, async (_, environment) => {
    deepEqual(await askHelper("good", "r.example:5000", { environment }), {
      kind: "basic",
      username: "ann",
      password: "for r.example:5000",
    });
    deepEqual(await askHelper("token", "r", { environment }), { kind: "identityToken", token: "t0k" });
    equal(await askHelper("nothing", "r", { environment }), undefined);
    equal(await askHelper("empty", "r", { environment }), undefined);
  });
});

Deno.test("askHelper() says what is wrong with a helper that is absent, fails, babbles or hangs", async () => {
  const scripts = {
    fails: `echo "error: the vault is shut"; exit 3`,
    leaks: `echo '{"Username":"a","Secret":"topsecret"}'; exit 1`,
    babbles: `echo topsecret`,
    // The child holds the output open as well: the whole group has to go.
    hangs: `sh -c "sleep 600; :" "$0" & sleep 600; :`,
  };
  await withHelpers(scripts, async (directory, environment) => {
    const asked = (name: string): Promise<unknown> => askHelper(name, "r.example", { environment, timeoutMs: 200 });
    await rejects(asked("absent"), {
      kind: "failed_precondition",
      message: /docker-credential-absent .*not installed/,
    });
    await rejects(asked("fails"), {
      kind: "unavailable",
      message: /r\.example failed with exit code 3: .*vault is shut/,
    });
    for (const name of ["leaks", "babbles"]) {
      await rejects(asked(name), (error: Error) => !error.message.includes("topsecret"));
    }
    await rejects(asked("hangs"), { kind: "unavailable", message: /gave no answer for 0\.2 s/ });
    await rejects(asked("../bin/fails"), /not the end of a program's name/);
    while ((await processesNaming(directory)).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

/** Command lines of processes that name a directory. */
async function processesNaming(text: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (line.includes(text)) found.push(line);
  }
  return found;
}

Deno.test("CredentialSource.find() goes through helpers and files in order, and past what fails", async () => {
  await withHelpers({ one: ANSWER, sick: `exit 2` }, async (directory, environment) => {
    await Deno.mkdir(`${directory}/.docker`);
    await Deno.mkdir(`${directory}/.config/containers`, { recursive: true });
    await Deno.writeTextFile(`${directory}/.config/containers/auth.json`, `{ "auths": `);
    await Deno.writeTextFile(
      `${directory}/.docker/config.json`,
      JSON.stringify({ auths: { "f.example": { auth: btoa("file:1") } }, credHelpers: { "h.example": "one" } }),
    );
    const lines: string[] = [];
    const log = { ...silentLogger, warn: (text: string): void => void lines.push(text) };
    const source = new CredentialSource({ environment: { ...environment, XDG_RUNTIME_DIR: directory } }, log);
    const find = async (name: string, helpers: string[]): Promise<string> =>
      user(await source.find(name, { helpers, signal }));
    equal(await find("f.example/x", [AUTH_FILES]), "file");
    equal(await find("h.example/x", [AUTH_FILES]), "ann");
    equal(await find("f.example/x", ["sick", "absent", AUTH_FILES]), "file");
    equal(await find("f.example/x", ["one", AUTH_FILES]), "ann");
    equal(lines.filter((line) => line.includes("auth.json is not a JSON object")).length, 3);
    const none = await find("n.example/x", ["sick", AUTH_FILES]);
    match(none, /docker-credential-sick for n\.example failed with exit code 2; auth file .*auth\.json is not/);
    equal(await find("n.example/x", []), "nobody");
  });
});

function user({ credentials, problem }: FoundCredentials): string {
  return credentials?.kind === "basic" ? credentials.username : problem ?? "nobody";
}

Deno.test("takeNamespacedAuth() gives a file to one pull only, and leaves nothing of it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const options = { directory, log: silentLogger };
    const repository = "docker.io/library/app";
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(repository))).toHex();
    const put = (namespace: string, text: string): Promise<void> =>
      Deno.writeTextFile(`${directory}/${namespace}-${hash}.json`, text);
    equal(await takeNamespacedAuth("team", repository, options), undefined);
    await put("team", JSON.stringify({ auths: { "docker.io": { auth: btoa("once:1") } } }));
    equal(await takeNamespacedAuth("other", repository, options), undefined);
    const taken = await Promise.all([1, 2, 3].map(() => takeNamespacedAuth("team", repository, options)));
    equal(taken.filter((file) => file?.find(repository)?.kind === "credentials").length, 1);
    await put("team", "topsecret");
    await rejects(
      takeNamespacedAuth("team", repository, options),
      (error: Error) => !error.message.includes("topsecret"),
    );
    const left = await Array.fromAsync(Deno.readDir(directory));
    deepEqual(left.map(({ name }) => name), ["in-use"]);
    deepEqual(await Array.fromAsync(Deno.readDir(`${directory}/in-use`)), []);
    ok(((await Deno.stat(`${directory}/in-use`)).mode ?? 0) % 0o1000 === 0o700);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
