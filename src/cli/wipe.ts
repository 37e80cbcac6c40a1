import { FailedPreconditionError } from "../base/errors.ts";
import { adaptToHost, detectHost } from "../config/adapt.ts";
import { buildConfig } from "../config/build.ts";
import type { Config } from "../config/schema.ts";
import type { ConfigValues } from "../config/values.ts";
import { Log } from "../log/logger.ts";
import { readVersionFile, writeVersionFile } from "../node/version_files.ts";
import { livingPods, type WipedNode, wipeNode, type WipeReport } from "../node/wipe.ts";
import { wipeGraphRoot } from "../node/wipe_root.ts";
import { print, printError } from "./_output.ts";
import { flagsOf } from "./commands.ts";
import { isSet, parseFlags, UsageError } from "./flags.ts";

/** `crio wipe [--force]`: what a reboot or an upgrade makes worthless, when no daemon does it. Gives the exit code. */
export async function wipeCommand(values: ConfigValues, args: readonly string[]): Promise<number> {
  const parsed = parseFlags(args, flagsOf("wipe"));
  if (parsed.rest.length > 0) throw new UsageError(`wipe takes no argument, got ${parsed.rest.join(" ")}`);
  const force = isSet(parsed, "force");
  adaptToHost(values, detectHost(Deno.env.get("PATH") ?? ""));
  const config = buildConfig(values);
  const plan = await planOf(config, force);
  if (typeof plan === "string") {
    print(`${plan}\n`);
    return 0;
  }
  const failed = await wipe(config, plan);
  if (failed > 0) return 1;
  await writeVersionFile(markOf(config));
  return 0;
}

interface Plan {
  readonly images: boolean;
  /** Everything in the store: it was not synced before the reboot, and nobody repairs it. */
  readonly root: boolean;
}

/** What is to be done, or why nothing is. */
async function planOf(config: Config, force: boolean): Promise<Plan | string> {
  const { versionFile, versionFilePersist, internalWipe, internalRepair } = config.crio;
  const mark = markOf(config);
  const isDone = mark !== "" && (await readVersionFile(mark)).kind === "same";
  if (isDone && !force) return "nothing to wipe: it was done since the last boot";
  const rebooted = force || (await readVersionFile(versionFile)).kind !== "same";
  const upgraded = force || (await readVersionFile(versionFilePersist)).kind !== "same";
  const unclean = rebooted && await wasUnclean(config.crio.cleanShutdownFile);
  if (unclean && !internalRepair) return { images: true, root: true };
  if (unclean) printError("the last shutdown was not clean: crio checks and repairs the store when it starts\n");
  if (internalWipe && !force) return "nothing to wipe: with internal_wipe crio does it when it starts";
  if (!rebooted && !upgraded) return "nothing to wipe: neither a reboot nor an upgrade";
  return { images: upgraded, root: false };
}

/** Empty without a `version_file`; on the same tmpfs as that, so gone after a reboot, with the version, so void after an upgrade. */
function markOf(config: Config): string {
  const { versionFile } = config.crio;
  return versionFile === "" ? "" : `${versionFile.replace(/\/[^/]*$/, "")}/crio-wipe-done`;
}

async function wasUnclean(path: string): Promise<boolean> {
  return path !== "" && await isThere(`${path}.supported`) && !await isThere(path);
}

/** @returns the number of things that could not be removed */
async function wipe(config: Config, { images, root }: Plan): Promise<number> {
  const { runDaemon } = await import("../daemon.ts");
  await using log = new Log({ level: "warn" });
  const controller = new AbortController();
  let failed = 0;
  const instead = async (node: WipedNode): Promise<number> => {
    refuseLiving(node);
    const report = await wipeNode(node, {
      images: () => images,
      keepLiving: false,
      log: log.root,
      signal: controller.signal,
    });
    print(textOf(report));
    failed = report.failed.length;
    return 0;
  };
  try {
    await runDaemon(quiet(config), { log: log.root, signal: controller.signal, instead });
  } catch (error) {
    // A store that cannot even be opened is what the rest is for.
    if (!root || error instanceof FailedPreconditionError) throw error;
    log.root.warn(`the store cannot be opened, it is removed as it is: ${String(error)}`);
  }
  if (!root) return failed;
  await wipeGraphRoot(config.crio.root);
  print(`removed everything in ${config.crio.root}: the last shutdown was not clean, and internal_repair is off\n`);
  return 0;
}

/** A daemon that serves nobody and leaves the mark of the last shutdown alone. */
function quiet(config: Config): Config {
  return {
    ...config,
    crio: { ...config.crio, cleanShutdownFile: "" },
    metrics: { ...config.metrics, enableMetrics: false },
    nri: { ...config.nri, enableNri: false },
  };
}

function refuseLiving({ pods }: WipedNode): void {
  const living = livingPods(pods);
  if (living.length === 0) return;
  const names = living.slice(0, 3).map(({ name, id }) => `${name} (${id.slice(0, 13)})`).join(", ");
  throw new FailedPreconditionError(
    `wipe: ${living.length} pods are running: ${names}: drain the node, or start crio and remove them ` +
      "(crictl rmp -fa), and wipe then",
  );
}

function textOf({ pods, containers, images, failed }: WipeReport): string {
  const lines = [`removed ${pods} pods, ${containers} containers, ${images} images`];
  return [...lines, ...failed.map((reason) => `not removed: ${reason}`)].join("\n") + "\n";
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
