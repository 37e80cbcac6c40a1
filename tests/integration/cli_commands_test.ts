import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { parse } from "smol-toml";

const ROOT = new URL("../../", import.meta.url).pathname;

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function crio(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const command = new Deno.Command(Deno.execPath(), { args: ["run", "-A", `${ROOT}main.ts`, ...args], env });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

Deno.test("crio version prints CRI-O's fields as text and as JSON", async () => {
  const text = await crio(["version"]);
  strictEqual(text.code, 0);
  match(text.out, /^Version: {9}\d+\.\d+\.\d+$/m);
  const information = JSON.parse((await crio(["version", "-j", "--verbose"])).out);
  match(information.platform, /^linux\/(amd64|arm64)$/);
  ok(information.dependencies.length > 0);
  match((await crio(["--version"])).out, /^crio version \d/);
});

Deno.test("crio config prints what differs, and everything with --default", async () => {
  const changed = await crio(["-c", "", "-d", "", "--log-level", "debug", "config"], { CONTAINER_READ_ONLY: "true" });
  deepStrictEqual([changed.code, changed.err], [0, ""]);
  deepStrictEqual(JSON.parse(JSON.stringify(parse(changed.out))), {
    crio: { runtime: { log_level: "debug", read_only: true } },
  });
  const all = await crio(["config", "--default"]);
  match(all.out, /^# pause_image = "registry\.k8s\.io\/pause:[\d.]+"$/m);
  ok((all.out.match(/^# [a-z_]+ = /gm)?.length ?? 0) >= 140);
});

Deno.test("crio ends with 2 for a wrong command line and 1 for a wrong configuration", async () => {
  for (const args of [["bogus"], ["--bogus"], ["version", "x"], ["internal", "x"], ["config", "x"]]) {
    const { code, out, err } = await crio(args);
    deepStrictEqual([code, out], [2, ""], args.join(" "));
    match(err, /^crio: .+\n$/);
  }
  const wrong = await crio(["--metrics-port", "x", "config"]);
  deepStrictEqual([wrong.code, wrong.err], [1, 'crio: flag --metrics-port: "x" is not an integer\n']);
  match((await crio(["-c", "/nonexistent"])).err, /^crio: \/nonexistent: no such configuration file/);
});

Deno.test("crio wipe has nothing to do where no files tell of reboots or upgrades", async () => {
  for (
    const [internal, expected] of [["true", "with internal_wipe crio does it when it starts"], [
      "false",
      "neither a reboot nor an upgrade",
    ]]
  ) {
    const flags = [
      "-c",
      "",
      "-d",
      "",
      "--version-file",
      "",
      "--clean-shutdown-file",
      "",
      `--internal-wipe=${internal}`,
    ];
    const { code, out, err } = await crio([...flags, "wipe"]);
    deepStrictEqual([code, out, err], [0, `nothing to wipe: ${expected}\n`, ""]);
  }
  strictEqual((await crio(["wipe", "all"])).code, 2);
});

Deno.test("crio --help lists commands and flags", async () => {
  const { code, out } = await crio(["--help"]);
  strictEqual(code, 0);
  match(out, /^ {3}status {2,}ask a running daemon$/m);
  match(out, /--log-level value, -l value/);
});

Deno.test("crio status shows what a daemon answers", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-cli-" });
  const path = `${directory}/crio.sock`;
  const maps = [{ container_id: 0, host_id: 0, size: 5 }];
  const container = {
    name: "n",
    pid: 7,
    image: "i",
    image_ref: "r",
    labels: { a: "b" },
    annotations: {},
    crio_annotations: {},
  };
  const rest = { log_path: "l", root: "/", sandbox: "s", ip_addresses: ["10.0.0.1", "fd00::1"] };
  const answers: Record<string, string> = {
    "/info": JSON.stringify({
      storage_driver: "overlay",
      storage_image: "",
      storage_root: "/s",
      cgroup_driver: "systemd",
      default_id_mappings: { uids: maps, gids: maps },
    }),
    "/config": "[crio]\n",
    "/containers/abc": JSON.stringify({ ...container, ...rest }).replace("{", '{"created_time":1795463221123456789,'),
  };
  await using _server = Deno.serve({ path, onListen: () => {} }, (request) => {
    const body = answers[new URL(request.url).pathname];
    return body === undefined ? new Response("can't find it\n", { status: 404 }) : new Response(body);
  });
  match((await crio(["status", "-s", path, "info"])).out, /cgroup driver: systemd\n(.*\n)*default UID .*\n {2}0:0:5\n/);
  strictEqual((await crio(["status", "config", "--socket", path])).out, "[crio]\n");
  const shown = await crio(["status", "--socket", path, "containers", "--id", "abc"]);
  match(shown.out, /^created: 2026-11-23T19:47:01\.123Z$/m);
  match(shown.out, /^labels:\n {2}a: b$/m);
  match(shown.out, /^ips: 10\.0\.0\.1, fd00::1$/m);
  const missing = await crio(["status", "-s", path, "s", "-i", "zzz"]);
  deepStrictEqual([missing.code, missing.err], [1, "crio: the daemon answered 404: can't find it\n"]);
  await Deno.remove(directory, { recursive: true });
});

const DAEMON = `
import { serveCommand } from "${ROOT}src/cli/serve.ts";
import { loadValues } from "${ROOT}src/config/load.ts";
const read = () => loadValues({ configPath: "", configDir: "", flags: new Map([["log-level", ["debug"]]]) });
const stuck = Deno.args[0] === "stuck";
Deno.exit(await serveCommand(read, () => Promise.resolve(async (config, { signal, log, live }) => {
  const alive = setInterval(() => {}, 1000);
  live.open();
  log.info("ready", { root: config.crio.root, umask: Deno.umask().toString(8), toml: live.toml().length > 5000 });
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  if (stuck) await new Promise(() => {});
  clearInterval(alive);
  log.info("stopped");
  return 0;
})));`;

/** Starts the fake daemon and gives it once it said "ready". */
async function startDaemon(mode: "stuck" | "good"): Promise<{ child: Deno.ChildProcess; log: AsyncIterator<string> }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--ext=ts", "-", mode],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(DAEMON));
  await writer.close();
  const log = child.stderr.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  await until(log, /msg=ready/);
  return { child, log };
}

async function until(log: AsyncIterator<string>, expected: RegExp): Promise<string> {
  let text = "";
  while (!expected.test(text)) {
    const { done, value } = await log.next();
    if (done) throw new Error(`the log ended without ${expected}: ${text}`);
    text += value;
  }
  return text;
}

async function rest(log: AsyncIterator<string>): Promise<string> {
  let text = "";
  for (let next = await log.next(); !next.done; next = await log.next()) text += next.value;
  return text;
}

Deno.test("the daemon survives SIGHUP and SIGUSR1, and stops on SIGTERM", async () => {
  const { child, log } = await startDaemon("good");
  child.kill("SIGHUP");
  await until(log, /Configuration reload completed" changed=0 pending=0/);
  child.kill("SIGUSR1");
  child.kill("SIGTERM");
  match(await rest(log), /SIGTERM: stopping.*\n.*msg=stopped/);
  strictEqual((await child.status).code, 0);
});

Deno.test("the daemon ends at once on the second signal", async () => {
  const { child, log } = await startDaemon("stuck");
  child.kill("SIGINT");
  await until(log, /SIGINT: stopping/);
  child.kill("SIGTERM");
  match(await rest(log), /SIGTERM again: ending at once/);
  strictEqual((await child.status).code, 143);
});
