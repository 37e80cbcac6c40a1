/** `crio check --host`: the real program on this machine, with a configuration that fits and one that does not. */
import { deepEqual, equal, match } from "node:assert/strict";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function hostCheck(
  conf: string,
  args: readonly string[] = [],
): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "-c", conf, "-d", "", "check", "--host", ...args],
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

interface Finding {
  readonly subject: string;
  readonly level: string;
  readonly detail: string;
  readonly remedy?: string;
}

async function write(path: string, text: string): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** A configuration whose runtime, monitor, network and policy are all made for it. */
async function prepare(directory: string): Promise<string> {
  for (const name of ["bin/crun", "bin/conmon", "cni/bridge", "cni/host-local"]) {
    await write(`${directory}/${name}`, "#!/bin/sh\necho fake version 1.2.3\n");
    await Deno.chmod(`${directory}/${name}`, 0o755);
  }
  const network = { cniVersion: "1.0.0", name: "lab", plugins: [{ type: "bridge", ipam: { type: "host-local" } }] };
  await write(`${directory}/net.d/10-lab.conflist`, JSON.stringify(network));
  await write(`${directory}/policy.json`, "{}");
  await write(
    `${directory}/crio.conf`,
    `[crio]
root = "${directory}/not/there/yet"
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon = "${directory}/bin/conmon"
[crio.runtime.runtimes.crun]
runtime_path = "${directory}/bin/crun"
[crio.image]
signature_policy = "${directory}/policy.json"
[crio.network]
network_dir = "${directory}/net.d"
plugin_dirs = ["${directory}/cni"]
`,
  );
  return `${directory}/crio.conf`;
}

Deno.test("crio check --host tells what this node has, and what it lacks with the remedy", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-host-" });
  const conf = await prepare(directory);
  const subjects = async (): Promise<Map<string, Finding>> => {
    const { out } = await hostCheck(conf, ["--json"]);
    const { findings }: { findings: Finding[] } = JSON.parse(out);
    return new Map(findings.map((finding) => [finding.subject, finding]));
  };
  const good = await subjects();
  const release = (await Deno.readTextFile("/proc/sys/kernel/osrelease")).trim();
  match(good.get("kernel")?.detail ?? "", new RegExp(`^Linux ${release.replaceAll(".", "\\.")}`));
  deepEqual(["runtime crun", "monitor", "networks", "signature policy"].map((name) => good.get(name)?.level), [
    "ok",
    "ok",
    "ok",
    "ok",
  ]);
  equal(good.get("monitor")?.detail, `${directory}/bin/conmon: fake version 1.2.3`);
  match(good.get("store")?.detail ?? "", /\/not\/there\/yet on \w+, [\d.]+ GiB free/);
  equal(await Deno.lstat(`${directory}/not`).catch(() => "missing"), "missing", "nothing is made");

  await Deno.remove(`${directory}/cni/host-local`);
  await Deno.remove(`${directory}/policy.json`);
  await write(`${directory}/bin/conmon`, "#!/bin/sh\nexit 1\n");
  const { code, out, err } = await hostCheck(conf);
  equal(code, 1);
  match(out, /^missing +networks +the plugins host-local are not in .*: install them/m);
  match(out, /^missing +signature policy +.*\/policy\.json is not there/m);
  match(out, /^missing +monitor +.*\/bin\/conmon cannot be run: /m);
  match(err, /^\d+ things are missing that pods need\n$/);
  await Deno.remove(`${directory}/bin/crun`);
  match((await hostCheck(conf)).out, /^missing +configuration +.*runtime_path ".*\/crun" is not an executable file: /m);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("crio check --host takes no flag of the store's check", async () => {
  const { code, err } = await hostCheck("", ["--quick"]);
  deepEqual([code, err], [2, "crio: check --host takes only --json, got --quick\n"]);
});
