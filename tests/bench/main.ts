/**
 * Drives CRI sockets and prints how long things take: see `scripts/bench --help`. Runs inside network and mount
 * namespaces that the launcher made.
 *
 * @module
 */
import { Command, InvalidArgumentError, Option } from "commander";
import { crioCommand, PROJECT_ROOT } from "../e2e/harness/crio.ts";
import type { CriDaemon } from "../e2e/harness/daemon.ts";
import { killAll, removeTree } from "../e2e/harness/cleanup.ts";
import { CgroupParent } from "../e2e/harness/cgroup_parent.ts";
import { message } from "../e2e/harness/cri_client.ts";
import { removeAllPods } from "../e2e/harness/pods.ts";
import { startRegistry } from "../e2e/harness/registry_process.ts";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { type Effort, FULL, QUICK, Results, type Subject } from "./context.ts";
import { MEASURES } from "./measures.ts";
import { LONG, PULL_MEASURES } from "./pulls.ts";
import { PEER_NAMES, type PeerName, preparePeer } from "./peers.ts";
import { jsonReport, textReport } from "./report.ts";

interface Flags {
  readonly quick?: boolean;
  readonly only: readonly string[];
  readonly peers: readonly PeerName[];
  readonly rounds?: string;
  readonly crio?: string;
  readonly json: string;
  readonly dir?: string;
}

function parseFlags(): Flags {
  const listOf = (known: readonly string[]) => (text: string): string[] => {
    const names = text.split(",");
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined) throw new InvalidArgumentError(`no ${unknown}: there are ${known.join(", ")}.`);
    return names;
  };
  const measures = Object.keys(MEASURES);
  const home = Deno.env.get("HOME") ?? "/root";
  return new Command("scripts/bench")
    .description("Measures crio and containerd on this machine, interleaved, in namespaces of their own.")
    .option("--quick", "fewer samples, 10 pods: a minute or two")
    .addOption(new Option("--only <names>", `of ${measures.join(",")}`).argParser(listOf(measures)).default([]))
    .addOption(new Option("--peers <names>", "columns").argParser(listOf(PEER_NAMES)).default([...PEER_NAMES]))
    .option("--rounds <n>", "how often each peer has its turn")
    .option("--crio <command>", "command line of crio, e.g. dist/crio; default: the source tree")
    .option("--json <file>", "where the figures go", `${PROJECT_ROOT}/dist/bench.json`)
    .option("--dir <path>", "temporary files", `${home}/.cache/crio-bench`)
    .parse(Deno.args, { from: "user" })
    .opts<Flags>();
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

async function run(flags: Flags): Promise<void> {
  const all = Object.keys(MEASURES).filter((name) => flags.quick !== true || !LONG.includes(name));
  const names = flags.only.length === 0 ? all : flags.only;
  const base = flags.quick === true ? QUICK : FULL;
  const effort: Effort = flags.rounds === undefined ? base : { ...base, rounds: Number(flags.rounds) };
  const cacheDir = flags.dir ?? "/var/tmp/crio-bench";
  await Deno.mkdir(cacheDir, { recursive: true });
  const workDir = await Deno.makeTempDir({ dir: cacheDir, prefix: "run-" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => removeTree(workDir));
  const pulls = names.some((name) => name in PULL_MEASURES);
  if (pulls) say("preparing the images to pull: minutes the first time");
  const registry = cleanup.use(await startRegistry(pulls ? { pullImagesCacheDir: cacheDir } : {}));
  const cgroup = cleanup.use(await CgroupParent.create(`crio-bench-${Deno.pid}`));
  const crio = flags.crio === undefined ? crioCommand() : flags.crio.split(" ");
  const results = new Results();
  const daemons = new Map<PeerName, CriDaemon>();
  for (const peer of flags.peers) {
    const daemon = await preparePeer(peer, { workDir, registryHost: registry.host, crioCommand: crio });
    cleanup.defer(() => shutDown(daemon));
    say(`starting ${peer}`);
    await daemon.start();
    daemons.set(peer, daemon);
    const image = message(ImageSpec, { image: `${registry.host}/bench/busybox:1` });
    await daemon.client.call("pullImage", { image });
  }
  for (let round = 0; round < effort.rounds; round++) {
    for (const name of names) {
      for (const [peer, daemon] of daemons) {
        const subject: Subject = {
          peer,
          daemon,
          results,
          effort,
          round,
          image: `${registry.host}/bench/busybox:1`,
          registryHost: registry.host,
          workDir,
          cgroupParent: `${cgroup.path}/${peer}`,
        };
        await measureOne(name, subject);
      }
    }
  }
  const about = { date: new Date().toISOString(), effort, crio, peers: flags.peers };
  await Deno.mkdir(flags.json.slice(0, flags.json.lastIndexOf("/")) || ".", { recursive: true });
  await Deno.writeTextFile(flags.json, jsonReport(results, about));
  await Deno.stdout.write(new TextEncoder().encode(`${textReport(results)}\n\nfigures: ${flags.json}\n`));
}

/** One peer's failure is reported and does not end the others' run. */
async function measureOne(name: string, subject: Subject): Promise<void> {
  const measure = MEASURES[name];
  if (measure === undefined) throw new Error(`no measure ${name}: there are ${Object.keys(MEASURES).join(", ")}`);
  const startMs = performance.now();
  try {
    await measure(subject);
  } catch (error) {
    Deno.exitCode = 1;
    const text = error instanceof Error ? error.message : String(error);
    say(`FAILED ${name} on ${subject.peer}: ${text}\n${subject.daemon.logTail(8)}`);
    await recover(subject.daemon);
  }
  say(`round ${subject.round + 1}: ${name} on ${subject.peer}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
}

/** After a failure: a daemon without pods again, as far as it goes. */
async function recover(daemon: CriDaemon): Promise<void> {
  try {
    await daemon.stop();
    await daemon.start();
    await removeAllPods(daemon.client);
  } catch (error) {
    say(`${daemon.spec.name} cannot be cleaned: ${error}`);
  }
}

async function shutDown(daemon: CriDaemon): Promise<void> {
  await removeAllPods(daemon.client).catch(() => {});
  const left = daemon.processes();
  await daemon.stop();
  killAll(left.map(({ pid }) => pid));
}

const flags = parseFlags();
await run(flags);
Deno.exit();
