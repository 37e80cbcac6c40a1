/**
 * What tunes containers on this node: CPUs, classes of block I/O and cache. Their parts with the kernel's real files.
 *
 * @module
 */
import { messageOf } from "../base/errors.ts";
import type { CgroupDriver } from "../cgroup/paths.ts";
import type { Config } from "../config/schema.ts";
import type { ContainerDeps } from "../container/deps.ts";
import type { ResourceClasses } from "../container/resource_classes.ts";
import { CpuTuning } from "../container/performance.ts";
import { commandResult, DEFAULT_PATH } from "../linux/command.ts";
import type { Host } from "../linux/host.ts";
import { BlockIoClasses } from "../performance/block_io.ts";
import { CpuFiles } from "../performance/cpu_files.ts";
import { Interrupts } from "../performance/interrupts.ts";
import { RdtClasses } from "../performance/rdt_classes.ts";

const RUN_LIMIT_MS = 30_000;

/** Opens it, and gives the irqbalance service its file back after a reboot. */
export async function openCpuTuning(
  { runtime }: Config,
  host: Host,
  deps: Pick<ContainerDeps, "records" | "exits" | "log">,
): Promise<CpuTuning> {
  const cpuFiles = new CpuFiles({
    cpuDirectory: "/sys/devices/system/cpu",
    saveDirectory: "/var/run/crio/cpu",
  });
  const interrupts = new Interrupts({
    affinityFile: "/proc/irq/default_smp_affinity",
    balanceFile: runtime.irqbalanceConfigFile,
    bannedFile: runtime.irqbalanceConfigRestoreFile,
  }, { run, log: deps.log });
  await interrupts.restoreBanned({ signal: AbortSignal.timeout(RUN_LIMIT_MS) }).catch((error: unknown) => {
    deps.log.warn(`the irqbalance service's banned CPUs could not be looked at: ${messageOf(error)}`);
  });
  return new CpuTuning({
    ...deps,
    driver: runtime.cgroupManager as CgroupDriver,
    layout: host.cgroup,
    cpuFiles,
    interrupts,
  });
}

/** @throws InvalidArgumentError for a configuration file that cannot be read */
export async function openResourceClasses(
  { runtime }: Config,
  { log }: Pick<ContainerDeps, "log">,
): Promise<ResourceClasses> {
  const { blockioConfigFile: path, blockioReload: rescan, rdtConfigFile } = runtime;
  const rdt = await RdtClasses.read(rdtConfigFile);
  return path === "" ? { rdt } : { rdt, blockIo: await BlockIoClasses.read(path, { rescan, log }) };
}

async function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<boolean> {
  try {
    const { exitCode } = await commandResult(argv, {
      env: { PATH: DEFAULT_PATH, ...env },
      signal: AbortSignal.timeout(RUN_LIMIT_MS),
    });
    return exitCode === 0;
  } catch {
    return false; // not installed, or it hung: nothing that a container depends on
  }
}
