import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url).pathname;
const decoder = new TextDecoder();

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(argv: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const [program = "", ...args] = argv;
  const { code, stdout, stderr } = await new Deno.Command(program, { args, env, stdin: "null" }).output();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Builds one portable file for all steps, in a directory of its own. */
async function withPortable(use: (file: string, directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "crio-build-" });
  try {
    const file = `${directory}/crio`;
    const { code, err } = await run([`${ROOT}scripts/build`, "--form", "portable", "--out", file]);
    strictEqual(code, 0, err);
    await use(file, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Every path below one directory. */
function crioConf(place: string): string {
  return `[crio]
root = "${place}/root"
runroot = "${place}/run"
log_dir = "${place}/log"
version_file = "${place}/version"
clean_shutdown_file = "${place}/clean.shutdown"
[crio.api]
listen = "${place}/crio.sock"
[crio.runtime]
container_exits_dir = "${place}/exits"
container_attach_socket_dir = "${place}/attach"
namespaces_dir = "${place}/ns"
[crio.network]
network_dir = "${place}/cni"
`;
}

async function names(directory: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort();
}

Deno.test("scripts/build makes a portable file that unpacks itself once", async (t) => {
  await withPortable(async (file, directory) => {
    const env = { CRIO_PORTABLE_DIR: `${directory}/unpacked` };

    await t.step("a link crio-status to it is crio status", async () => {
      const link = `${directory}/crio-status`;
      await Deno.symlink(file, link);
      const { code, err } = await run([link, "--socket", "/nonexistent/crio.sock", "info"], env);
      strictEqual(code, 1);
      match(err, /no answer on \/nonexistent\/crio\.sock/);
      await Deno.remove(env.CRIO_PORTABLE_DIR, { recursive: true });
    });

    await t.step("four first starts at the same time all work and leave one copy", async () => {
      const started = await Promise.all([1, 2, 3, 4].map(() => run([file, "version", "--json"], env)));
      deepStrictEqual(started.map(({ code, err }) => [code, err]), [[0, ""], [0, ""], [0, ""], [0, ""]]);
      deepStrictEqual(JSON.parse(started[0]?.out ?? "").buildTags, ["portable"]);
      const unpacked = await names(env.CRIO_PORTABLE_DIR);
      strictEqual(unpacked.length, 1);
      match(unpacked[0] ?? "", /^[0-9a-f]{64}$/);
      const { mode, uid } = await Deno.stat(`${env.CRIO_PORTABLE_DIR}/${unpacked[0]}`);
      deepStrictEqual([(mode ?? 0) & 0o777, uid], [0o700, Deno.uid()]);
    });

    await t.step("the bundle still gives back what `using` holds", async () => {
      const [hash] = await names(env.CRIO_PORTABLE_DIR);
      const app = `${env.CRIO_PORTABLE_DIR}/${hash}/app`;
      const texts = await Promise.all((await names(app)).map((name) => Deno.readTextFile(`${app}/${name}`)));
      // A variable that is read once: a minifier has put its value in its place.
      match(texts.join(""), /using \w+ = await this\.#lockSoon\(/);
    });

    await t.step("later starts unpack nothing, pass arguments on and give the exit code", async () => {
      const [hash] = await names(env.CRIO_PORTABLE_DIR);
      const before = (await Deno.stat(`${env.CRIO_PORTABLE_DIR}/${hash}/crio`)).ctime;
      const odd = await run([file, "an argument with 'quotes' and $signs"], env);
      strictEqual(odd.code, 2);
      match(odd.err, /command "an argument with 'quotes' and \$signs" not supported/);
      deepStrictEqual((await Deno.stat(`${env.CRIO_PORTABLE_DIR}/${hash}/crio`)).ctime, before);
    });

    await t.step("CRIO_SELF starts the same program again", async () => {
      const traced = await run(["sh", "-x", file, "version"], env);
      const self = /^\+ CRIO_SELF='?(\[.*?\])'?$/m.exec(traced.err)?.[1];
      const argv: readonly string[] = JSON.parse(self ?? "");
      ok(argv[0]?.startsWith(env.CRIO_PORTABLE_DIR));
      strictEqual((await run([...argv, "version"])).out, traced.out);
      strictEqual((await run([...argv, "internal", "unknown"])).code, 2);
    });

    await t.step("the daemon starts, answers on its socket and stops", async () => {
      const place = `${directory}/node`;
      await Deno.mkdir(place);
      await Deno.writeTextFile(`${place}/crio.conf`, crioConf(place));
      const args = ["--config", `${place}/crio.conf`, "--config-dir", ""];
      const daemon = new Deno.Command(file, { args, env, stdin: "null", stdout: "null", stderr: "piped" }).spawn();
      const log = daemon.stderr.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
      let whole = "";
      for (let next = await log.next(); !next.done; next = await log.next()) {
        whole += next.value;
        if (/msg=Listening/.test(whole)) break;
      }
      const info = await run([file, "status", "--socket", `${place}/crio.sock`, "info"], env);
      daemon.kill("SIGTERM");
      for (let next = await log.next(); !next.done; next = await log.next()) whole += next.value;
      const { code } = await daemon.status;
      // The store makes its directory a mount of its own, as containers/storage does, and leaves it.
      await run(["umount", `${place}/root/overlay`]);
      strictEqual(code, 0, whole);
      match(info.out, /^storage driver: overlay$/m, info.err);
    });

    await t.step("a damaged file says so and leaves nothing", async () => {
      const bytes = await Deno.readFile(file);
      bytes[bytes.length - 1000] = (bytes[bytes.length - 1000] ?? 0) ^ 0xff;
      await Deno.writeFile(`${directory}/damaged`, bytes, { mode: 0o755 });
      const other = `${directory}/other`;
      const { code, err } = await run([`${directory}/damaged`, "version"], { CRIO_PORTABLE_DIR: other });
      strictEqual(code, 1);
      match(err, /is damaged: its content does not have the hash/);
      deepStrictEqual(await names(other), []);
    });

    await t.step("a copy of another version goes when nothing runs from it", async () => {
      const base = `${directory}/several`;
      await Deno.mkdir(`${base}/${"0".repeat(64)}`, { recursive: true });
      strictEqual((await run([file, "version"], { CRIO_PORTABLE_DIR: base })).code, 0);
      deepStrictEqual(await names(base), await names(env.CRIO_PORTABLE_DIR));
    });

    await t.step("a place that cannot be written is explained", async () => {
      const { code, err } = await run([file, "version"], { CRIO_PORTABLE_DIR: "/proc/nowhere" });
      strictEqual(code, 1);
      match(err, /cannot unpack into \/proc\/nowhere: .*set CRIO_PORTABLE_DIR/);
    });
  });
});

Deno.test("scripts/build says how to get a denort where there is none", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-build-" });
  try {
    const out = `${directory}/crio`;
    const env = { DENORT_BIN: `${directory}/missing-denort` };
    const { code, err } = await run([`${ROOT}scripts/build`, "--form", "compiled", "--out", out], env);
    strictEqual(code, 1);
    match(err, /deno compile failed: .*\n.*It needs denort \d+\.\d+\.\d+: set DENORT_BIN=/);
    deepStrictEqual(await names(directory), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
