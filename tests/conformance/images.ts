import type { FakeRegistry } from "../fakes/registry.ts";
import type { BuiltImage } from "../fakes/registry/content.ts";
import { buildTar, type TarEntry } from "../fakes/tar.ts";
import { buildPrograms, type ProgramName } from "./programs.ts";

/** Where critest's images come from; all of them are served by one registry, under their names without the host. */
export const ORIGINS = ["registry.k8s.io", "k8s.gcr.io", "gcr.io"] as const;

/** The image of our own infra processes: not the content of pause:3.9, which a spec pulls, compares and removes. */
export const PAUSE_IMAGE = "registry.k8s.io/pause:infra";

/**
 * The digest of `test-image-digest`: critest names one by digest. Its bytes come from here alone, so that it is the
 * same on every machine; `critest.sed` puts it into critest.
 */
export const FIXED_DIGEST = "sha256:221662e5e1f79b65088b69f718cadc9e26a6169c1aaeacdb54d747ae9688bc33";

const TESTS = "e2e-test-images";
const TOOLS = "k8s-staging-cri-tools";
const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHELL = { Env: [PATH], Cmd: ["sh"] };

/** An image by what it adds to a base layer. */
interface Plan {
  /** `repository:tag`, one or more. */
  readonly names: readonly string[];
  readonly entries?: readonly TarEntry[];
  readonly config?: Readonly<Record<string, unknown>>;
}

/**
 * Puts stand-ins for the images of critest into a registry: the same names, users and behaviour, made of Debian's
 * static busybox and bash.
 *
 * @throws Error when a package is missing, or when {@link FIXED_DIGEST} is not what was built
 */
export async function addTestImages(registry: FakeRegistry): Promise<void> {
  const programs = await buildPrograms();
  const base = buildTar(await baseEntries(programs));
  const architecture = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
  const platform = { os: "linux", architecture };
  const add = (plan: Plan): void => {
    const layers = plan.entries === undefined ? [base] : [base, buildTar(plan.entries)];
    addAs(registry, { names: plan.names, layers, config: plan.config ?? SHELL, platform });
  };
  for (const plan of [...toolPlans(), ...webPlans(programs, architecture), ...userPlans()]) add(plan);
  add({ names: [`${TESTS}/nonewprivs:1.3`], entries: [program("nnp", programs.effective_uid, 0o4755)], config: NNP });
  const pause = [buildTar([program("pause", programs.pause, 0o755)])];
  const config = { Env: [PATH], Entrypoint: ["/pause"], User: "65535:65535" };
  addAs(registry, { names: ["pause:3.9"], layers: pause, config, platform });
  addAs(registry, { names: ["pause:infra"], layers: pause, config: { ...config, Labels: { use: "infra" } }, platform });
  addFixed(registry);
}

const NNP = { Env: [PATH], Cmd: ["/nnp"] };

function addAs(
  registry: FakeRegistry,
  image: {
    names: readonly string[];
    layers: Uint8Array[];
    config: Record<string, unknown>;
    platform: BuiltImage["platform"];
  },
): void {
  for (const full of image.names) {
    const [name = "", tag = "latest"] = full.split(":");
    registry.addImage({ ...image, name, tag });
  }
}

/** Uncompressed: compressed bytes depend on the version of zlib. */
function addFixed(registry: FakeRegistry): void {
  const layers = [buildTar([{ name: "test-image-digest", body: "digest" }])];
  const { digest } = registry.addImage({
    name: `${TOOLS}/test-image-digest`,
    layers,
    compression: "none",
    config: SHELL,
  });
  if (digest !== FIXED_DIGEST) throw new Error(`test-image-digest has the digest ${digest}: write it here and there`);
}

/** Images that differ by name only, or by one file. */
function toolPlans(): Plan[] {
  const busybox = ["busybox:1.29-2", "busybox:1.29", "busybox:1"].map((name) => `${TESTS}/${name}`);
  const marked = (names: string[], mark: string): Plan => ({
    names: names.map((name) => `${TOOLS}/${name}`),
    entries: [{ name: `test-image-${mark}`, body: mark }],
  });
  return [
    { names: busybox },
    marked(["test-image-latest:latest"], "latest"),
    marked(["test-image-tag:test"], "tag"),
    marked(["test-image-tag:all"], "all"),
    ...["1", "2", "3"].map((number) => marked([`test-image-${number}:latest`], number)),
    marked(["1", "2", "3"].map((tag) => `test-image-tags:${tag}`), "tags"),
  ];
}

function webPlans(programs: Programs, architecture: string): Plan[] {
  const nginx = "/usr/sbin/nginx";
  const httpd = "/usr/local/apache2/bin/httpd";
  const server = (path: string, port: number, ...names: string[]): Plan => ({
    names,
    entries: [program(path.slice(1), programs.web_server, 0o755)],
    config: {
      Env: [PATH, `WEB_SERVER_PORT=${port}`, `WEB_SERVER_PROGRAM=${path}`],
      Cmd: [path],
      ExposedPorts: { [`${port}/tcp`]: {} },
      StopSignal: "SIGTERM",
    },
  });
  return [
    server(nginx, 80, `${TESTS}/nginx:1.14-2`),
    server(nginx, 12003, `${TOOLS}/hostnet-nginx-${architecture}:latest`),
    server(httpd, 80, `${TESTS}/httpd:2.4.39-4`),
  ];
}

function userPlans(): Plan[] {
  const users = { uid: "1002", username: "www-data", "uid-group": "1003:users", "username-group": "www-data:100" };
  const home = { name: "home/default-user/", type: "5", uid: 1000, gid: 1000 };
  return [
    ...Object.entries(users).map(([kind, User]) => ({
      names: [`${TOOLS}/test-image-user-${kind}:latest`],
      config: { ...SHELL, User },
    })),
    {
      names: [`${TOOLS}/test-image-predefined-group:latest`],
      entries: [
        home,
        { name: "etc/passwd", body: `${PASSWD}default-user:x:1000:1000:user:/home/default-user:/bin/sh\n` },
        { name: "etc/group", body: `${GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n` },
      ],
      config: { ...SHELL, User: "1000" },
    },
  ];
}

type Programs = Readonly<Record<ProgramName, Uint8Array>>;

function program(name: string, body: Uint8Array, mode: number): TarEntry {
  return { name, body, mode };
}

async function baseEntries(programs: Programs): Promise<TarEntry[]> {
  const directories = ["bin", "dev", "etc", "home", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr"];
  directories.push("usr/bin", "usr/sbin", "usr/share", "var", "var/log", "var/run", "var/spool", "var/www");
  return [
    ...directories.map((name) => ({ name: `${name}/`, type: "5", mode: modeOf(name) })),
    program("bin/busybox", programs.busybox, 0o755),
    // Hard links: a spec masks /bin/ls, which must leave the others alone.
    ...(await appletNames()).map((name) => ({ name: `bin/${name}`, type: "1", linkName: "bin/busybox", mode: 0o755 })),
    // Debian's busybox shell runs its own ls even where /bin/ls is masked.
    program("bin/bash", programs.bash, 0o755),
    { name: "bin/sh", type: "2", linkName: "bash", mode: 0o777 },
    program("bin/pgrep", programs.pgrep, 0o755),
    program("bin/ipcs", programs.ipcs, 0o755),
    { name: "etc/passwd", body: PASSWD },
    { name: "etc/group", body: GROUP },
    { name: "etc/shadow", body: "root:*::0:::::\n", mode: 0o600 },
    { name: "etc/nsswitch.conf", body: "passwd: files\ngroup: files\n" },
  ];
}

function modeOf(directory: string): number {
  if (directory === "tmp") return 0o1777;
  return directory === "root" ? 0o700 : 0o755;
}

async function appletNames(): Promise<string[]> {
  const { stdout } = await new Deno.Command("busybox", { args: ["--list"] }).output();
  const names = new TextDecoder().decode(stdout).split("\n").filter(Boolean);
  return names.filter((name) => !["busybox", "sh", "bash"].includes(name));
}

const PASSWD = [
  "root:x:0:0:root:/root:/bin/sh",
  "daemon:x:1:1:daemon:/usr/sbin:/bin/false",
  "bin:x:2:2:bin:/bin:/bin/false",
  "www-data:x:33:33:www-data:/var/www:/bin/false",
  "nobody:x:65534:65534:nobody:/home:/bin/false",
  "",
].join("\n");

const GROUP = [
  "root:x:0:",
  "daemon:x:1:",
  "bin:x:2:",
  "tty:x:5:",
  "wheel:x:10:root",
  "www-data:x:33:",
  "users:x:100:",
  "nobody:x:65534:",
  "",
].join("\n");
