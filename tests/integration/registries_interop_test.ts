/** What Debian's skopeo makes of registries.conf and auth.json, and what we make of them. No name leaves this machine. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { CredentialSource } from "../../src/image/auth/credential_source.ts";
import { canonical, type ImageReference, parseReference, pullTarget } from "../../src/image/reference.ts";
import { candidates, type Endpoint, endpointsOf } from "../../src/image/registries/endpoints.ts";
import { Registries } from "../../src/image/registries/registries.ts";
import { AUTH_FILES, type RegistriesConfig } from "../../src/image/registries/registries_conf.ts";
import { type CommandResult, commandResult } from "../../src/linux/command.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { FakeRegistry } from "../fakes/registry.ts";

openLibraries();

const DIGEST = `sha256:${"ab".repeat(32)}`;

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function run(home: string, argv: readonly string[]): Promise<CommandResult & { readonly text: string }> {
  const result = await commandResult(argv, {
    env: { PATH: `${home}/bin:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: home, XDG_RUNTIME_DIR: home },
  });
  return { ...result, text: new TextDecoder().decode(result.stderr) };
}

async function inspect(
  home: string,
  image: string,
  flags: readonly string[],
): Promise<{ text: string; exitCode: number }> {
  const tool = ["/usr/bin/skopeo", "--debug", "--registries-conf", `${home}/registries.conf`];
  return await run(home, [...tool, "inspect", "--no-tags", ...flags, `docker://${image}`]);
}

async function ours(home: string): Promise<RegistriesConfig> {
  const source = { file: `${home}/registries.conf`, dropInDirectory: `${home}/none`, aliasFile: `${home}/none` };
  return await new Registries(source, silentLogger).current();
}

// Ports below 10 of the loopback address: nobody listens, and it is told at once.
const CONFIG = `
[[registry]]
prefix = "*.corp.example"
location = "127.0.0.1:1/copies"
[[registry]]
prefix = "special.corp.example"
location = "127.0.0.1:2"
insecure = true
[[registry]]
prefix = "r.example/team"
location = "127.0.0.1:3/t"
mirror-by-digest-only = true
[[registry.mirror]]
location = "127.0.0.1:4/digests"
[[registry]]
prefix = "r.example"
location = "127.0.0.1:5"
[[registry.mirror]]
location = "127.0.0.1:6/first"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:7"
[[registry]]
prefix = "r.example/team/app:1"
location = "127.0.0.1:8/pinned:1"
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:9/hub"
[[registry]]
prefix = "docker.io/library"
location = "127.0.0.1:9/hub-library"
[[registry]]
prefix = "r.example:5000/deep/er"
location = "127.0.0.1:1/port"
`;

const REFERENCES = [
  "a.corp.example/x",
  "a.b.corp.example/x/y:2",
  "a.corp.example:5000/x:2",
  "special.corp.example/x:1",
  "special.corp.example/x/corp.example/y",
  "r.example/other/app:3",
  `r.example/other/app@${DIGEST}`,
  "r.example/team/app:2",
  `r.example/team/app@${DIGEST}`,
  "r.example/teams/app:2",
  "r.example/team/app:1",
  "r.example/team/app:10",
  "busybox",
  "bitnami/redis:7",
  "docker.io/library/busybox:1",
  "r.example:5000/deep/er/app",
  "127.0.0.1:1/plain:1",
];

Deno.test("places are asked in the order in which skopeo asks them", async () => {
  await withDirectory(async (home) => {
    await Deno.writeTextFile(`${home}/registries.conf`, CONFIG);
    const config = await ours(home);
    let places = 0;
    for (const text of REFERENCES) {
      const { text: log } = await inspect(home, text, []);
      const theirs = [...log.matchAll(/Trying to access \\"([^"\\]+)\\"/g)].map((found) => found[1]);
      const target = pullTarget(parseReference(text));
      const suffix = target.digest === undefined ? `:${target.tag}` : `@${target.digest}`;
      deepEqual(placesOf(target, config).map(({ host, path }) => `${host}/${path}${suffix}`), theirs, text);
      places += theirs.length;
    }
    ok(places > REFERENCES.length);
  });
});

function placesOf(target: ImageReference, config: RegistriesConfig): readonly Endpoint[] {
  try {
    return endpointsOf(target, config);
  } catch {
    // Neither of us can rewrite it to a name that is one.
    return [];
  }
}

/** Configurations, and whether they are good. */
const CONFIGS: ReadonlyArray<readonly [text: string, good: boolean]> = [
  [`unqualified-search-registries = ["a.example", "b.example:5000"]`, true],
  [`unqualified-search-registries = ["a.example/x"]`, false],
  [`[[registry]]\nlocation = "127.0.0.1:1/"`, true],
  [`[[registry]]\nprefix = "*.example"`, true],
  [`[[registry]]\nprefix = "a.*.example"\nlocation = "127.0.0.1:1"`, true],
  [`[[registry]]\ninsecure = true`, false],
  [`[[registry]]\nlocation = "https://127.0.0.1:1"`, false],
  [`[[registry]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\ninsecure = true`, false],
  [
    `[[registry]]\nlocation = "127.0.0.1:1"\ninsecure = true\n[[registry]]\nprefix = "x.example"\nlocation = "127.0.0.1:1"`,
    false,
  ],
  [
    `[[registry]]\nlocation = "127.0.0.1:1"\nblocked = true\n[[registry]]\nprefix = "x.example"\nlocation = "127.0.0.1:1"`,
    false,
  ],
  [
    `[[registry]]\nprefix = "x.example"\nlocation = "127.0.0.1:1"\n[[registry]]\nprefix = "x.example"\nlocation = "127.0.0.1:2"`,
    true,
  ],
  [`short-name-mode = "sometimes"`, false],
  [`short-name-mode = "permissive"`, true],
  [`[aliases]\n"a" = "b.example/c"\n"d" = ""`, true],
  [`[aliases]\n"a" = "b/c"`, false],
  [`[aliases]\n"a" = "b.example/c:1"`, false],
  [`[aliases]\n"a:1" = "b.example/c"`, false],
  [`credential-helpers = ["containers-auth.json"]`, true],
  [`unqualified-search-registries = "a.example"`, false],
  [`[registries.search]\nregistries = ["a.example"]\n[registries.insecure]\nregistries = ["b.example"]`, true],
  [`[registries.search]\nregistries = ["a.example"]\n[[registry]]\nlocation = "b.example"`, false],
];

Deno.test("files are good and bad as for skopeo", async () => {
  await withDirectory(async (home) => {
    for (const [text, good] of CONFIGS) {
      await Deno.writeTextFile(`${home}/registries.conf`, text);
      const { text: log } = await inspect(home, "127.0.0.1:1/x:1", []);
      // A file that is good gets as far as the (dead or blocked) place.
      equal(/connection refused|is blocked/.test(log), good, `skopeo: ${text}\n${log}`);
      equal(await ours(home).then(() => true, () => false), good, text);
    }
  });
});

Deno.test("credentials are those that skopeo sends", async () => {
  await using registry = await FakeRegistry.start({
    auth: { kind: "basic", account: { username: "nobody", password: "" } },
  });
  const { host } = registry;
  const login = (user: string): { auth: string } => ({ auth: btoa(`${user}:${user}:pass`) });
  const files: ReadonlyArray<readonly [name: string, document: unknown]> = [
    ["host and namespaces", {
      auths: { [host]: login("host"), [`${host}/team`]: login("team"), [`${host}/team/app`]: login("app") },
    }],
    ["a URL", { auths: { [`https://${host}/v1/`]: login("url") } }],
    ["an empty entry", { auths: { [`${host}/team`]: {}, [host]: login("host") } }],
    ["another host only", { auths: { "other.example": login("other") } }],
    ["a helper before entries", { auths: { [host]: login("host") }, credHelpers: { [host]: "test" } }],
    ["another host's helper", { auths: { [host]: login("host") }, credHelpers: { "other.example": "test" } }],
  ];
  await withDirectory(async (home) => {
    await Deno.mkdir(`${home}/bin`);
    const script = `#!/bin/sh\nread server; echo "{\\"Username\\":\\"helper\\",\\"Secret\\":\\"for $server\\"}"\n`;
    await Deno.writeTextFile(`${home}/bin/docker-credential-test`, script, { mode: 0o755 });
    await Deno.writeTextFile(`${home}/registries.conf`, "");
    const environment = { HOME: home, PATH: `${home}/bin:/usr/bin:/bin` };
    for (const [name, document] of files) {
      await Deno.writeTextFile(`${home}/auth.json`, JSON.stringify(document));
      const source = new CredentialSource({ globalFile: `${home}/auth.json`, environment }, silentLogger);
      for (const path of ["team/app", "team/other", "teams/app", "app"]) {
        registry.requests.length = 0;
        await inspect(home, `${host}/${path}`, ["--tls-verify=false", "--authfile", `${home}/auth.json`]);
        // An empty entry makes an empty login.
        const theirs = registry.requests.map(({ authorization }) => authorization)
          .findLast((one) => one !== undefined && one !== `Basic ${btoa(":")}`);
        const { signal } = new AbortController();
        const { credentials } = await source.find(`${host}/${path}`, { helpers: [AUTH_FILES], signal });
        const mine = credentials?.kind === "basic"
          ? `Basic ${btoa(`${credentials.username}:${credentials.password}`)}`
          : undefined;
        ok(registry.requests.length > 0);
        equal(mine, theirs, `${name}: ${path}`);
      }
    }
  });
});

Deno.test("short names mean what podman takes them for", async () => {
  await withDirectory(async (home) => {
    const text = `unqualified-search-registries = ["127.0.0.1:1", "127.0.0.1:2"]
short-name-mode = "disabled"
[aliases]
"known" = "127.0.0.1:3/known/image"
"team/known" = "127.0.0.1:4/other"
`;
    await Deno.writeTextFile(`${home}/registries.conf`, text);
    const config = await ours(home);
    for (const name of ["known:2", `team/app@${DIGEST}`]) {
      const flags = [
        "--log-level=debug",
        "--root",
        `${home}/store`,
        "--runroot",
        `${home}/run`,
        "--storage-driver",
        "vfs",
      ];
      const { stderr } = await commandResult(["/usr/bin/podman", ...flags, "pull", name], {
        env: {
          PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
          HOME: home,
          CONTAINERS_REGISTRIES_CONF: `${home}/registries.conf`,
        },
      });
      const log = new TextDecoder().decode(stderr);
      // It tries everything again.
      const theirs = [...new Set([...log.matchAll(/Trying to access \\"([^"\\]+)\\"/g)].map((found) => found[1]))];
      deepEqual(candidates(name, { config }).map(canonical), theirs, `${name}\n${log}`);
    }
  });
});
