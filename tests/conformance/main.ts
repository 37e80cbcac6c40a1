/**
 * Runs every spec of critest against a crio on temporary roots, once per variant, and compares what was skipped with
 * `skips.ts`. The last line is of the form that `deno test` has. Start it by `run`, which gives it namespaces of its own.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { killAll, removeTree } from "../e2e/harness/cleanup.ts";
import { prepareCrio } from "../e2e/harness/crio.ts";
import type { CriDaemon } from "../e2e/harness/daemon.ts";
import { removeAllPods } from "../e2e/harness/pods.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { runCritest } from "./critest.ts";
import { addTestImages, ORIGINS, PAUSE_IMAGE } from "./images.ts";
import { DefaultCgroups } from "./default_cgroups.ts";
import { hostFacts } from "./host.ts";
import { judge, type Verdict } from "./judge.ts";
import type { SpecResult } from "./junit.ts";
import { type Variant, VARIANTS } from "./variants.ts";

const NETWORK = { bridge: "crioconf0", prefix: "10.237.77" };

interface Arguments {
  readonly critest: string;
  readonly results: string;
  readonly focus: string | undefined;
  /** Programs of variants that are not of Debian, by variant. */
  readonly programs: ReadonlyMap<string, string>;
  readonly variant: Variant;
}

function parseArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      variant: { type: "string", default: "crun" },
      critest: { type: "string", default: "" },
      results: { type: "string", default: "" },
      focus: { type: "string" },
      program: { type: "string", multiple: true, default: [] },
    },
  });
  const variant = VARIANTS.find(({ name }) => name === values.variant);
  if (variant === undefined) throw new Error(`no variant ${values.variant}: ${VARIANTS.map(({ name }) => name)}`);
  const programs = new Map(values.program.map((pair) => {
    const [name = "", path = ""] = pair.split("=");
    return [name, path];
  }));
  return { critest: values.critest, results: values.results, focus: values.focus, programs, variant };
}

/** The whole of one variant: registry, daemon, critest, and nothing of them left. */
async function runVariant(options: Arguments): Promise<SpecResult[]> {
  await using undo = new AsyncDisposableStack();
  undo.use(await DefaultCgroups.remember());
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-conformance-" });
  undo.defer(() => removeTree(directory));
  // Users of containers look through it.
  await Deno.chmod(directory, 0o755);
  await Deno.mkdir(`${directory}/tmp`, { mode: 0o777 });
  const registry = undo.use(await FakeRegistry.start());
  await addTestImages(registry);
  const daemon = await startCrio(options, { directory, registryHost: registry.host });
  undo.defer(() => stopCrio(daemon));
  const reportPath = `${options.results}/${options.variant.name}`;
  undo.defer(() => Deno.copyFile(daemon.logPath, `${reportPath}.crio.log`));
  return await runCritest({
    program: options.critest,
    socketPath: daemon.spec.socketPath,
    nriSocketPath: `${directory}/nri.sock`,
    temporaryDirectory: `${directory}/tmp`,
    reportPath,
    websocket: options.variant.websocket,
    ...(options.focus === undefined ? {} : { focus: options.focus }),
  });
}

async function startCrio(
  { variant, programs }: Arguments,
  { directory, registryHost }: { directory: string; registryHost: string },
): Promise<CriDaemon> {
  const daemon = await prepareCrio({
    directory,
    network: NETWORK,
    pauseImage: PAUSE_IMAGE,
    logLevel: "debug",
  });
  const blocks = ORIGINS.map((prefix) =>
    `[[registry]]\nprefix = "${prefix}"\nlocation = "${registryHost}"\ninsecure = true\n`
  );
  await Deno.writeTextFile(`${directory}/registries.conf`, blocks.join(""));
  const program = programs.get(variant.name);
  const handler = program === undefined ? "" : `[crio.runtime.runtimes.${variant.handler}]
runtime_path = "${program}"
runtime_root = "${directory}/${variant.handler}"
`;
  await Deno.writeTextFile(
    `${directory}/crio.conf.d/50-conformance.conf`,
    `[crio.runtime]
default_runtime = "${variant.handler}"
${handler}[crio.stats]
included_pod_metrics = ["all"]
[crio.nri]
enable_nri = true
nri_listen = "${directory}/nri.sock"
nri_plugin_dir = "${directory}/nri-plugins"
nri_plugin_config_dir = "${directory}/nri-conf.d"
`,
  );
  await daemon.start();
  return daemon;
}

async function stopCrio(daemon: CriDaemon): Promise<void> {
  await removeAllPods(daemon.client).catch((error) => say(`pods were left: ${error}`));
  const left = daemon.processes().map(({ pid }) => pid).filter((pid) => pid !== daemon.pid);
  await daemon.stop();
  killAll(left);
}

function report(verdict: Verdict, elapsedSeconds: number): void {
  const { passed, skipped, failures } = verdict;
  for (const { name, message } of failures) say(`FAILED ${name}\n    ${shortened(message).replaceAll("\n", "\n    ")}`);
  const word = failures.length === 0 ? "ok" : "FAILED";
  const counts = `${passed} passed | ${failures.length} failed | ${skipped} ignored`;
  say(`${word} | ${counts} (${Math.round(elapsedSeconds)}s)`);
}

/** Gomega prints whole Go values; the report has them in full. */
function shortened(message: string): string {
  const MAX_LINES = 5;
  const lines = message.split("\n");
  return lines.length <= MAX_LINES ? message : [...lines.slice(0, MAX_LINES), "…"].join("\n");
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  const options = parseArguments();
  const startMs = performance.now();
  const results = await runVariant(options);
  const partial = options.focus !== undefined;
  const verdict = judge(results, { variant: options.variant.name, host: await hostFacts(), partial });
  report(verdict, (performance.now() - startMs) / 1000);
  Deno.exit(verdict.failures.length === 0 ? 0 : 1);
}
