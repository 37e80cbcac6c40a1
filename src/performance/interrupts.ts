import { messageOf } from "../base/errors.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { Logger } from "../base/logger.ts";
import { formatCpuSet, parseCpuSet } from "./cpu_set.ts";

export interface InterruptPlaces {
  /** `/proc/irq/default_smp_affinity`. */
  readonly affinityFile: string;
  /** The irqbalance service's configuration; need not exist. */
  readonly balanceFile: string;
  /** Where the banned CPUs from before the first container are kept; `disable` switches restoring at start off. */
  readonly bannedFile: string;
}

/** Runs a program; false when it fails or is not there. */
export type RunProgram = (argv: readonly string[], env?: Readonly<Record<string, string>>) => Promise<boolean>;

export interface InterruptDeps {
  readonly run: RunProgram;
  readonly log: Logger;
}

const BANNED = "IRQBALANCE_BANNED_CPUS";
const WORD_DIGITS = 8;

/**
 * Which CPUs take interrupts: the kernel's default for new ones, and the irqbalance service, which moves the others. One change at a
 * time: each is worked out from the value before.
 */
export class Interrupts {
  readonly #locks = new KeyedMutex<string>();

  constructor(private readonly places: InterruptPlaces, private readonly deps: InterruptDeps) {}

  /** Takes interrupts away from these CPUs. */
  async exclude(cpus: string, options: { signal: AbortSignal }): Promise<void> {
    await this.#change((mask) => maskOf(mask, { remove: parseCpuSet(cpus) }), options);
  }

  /** Lets them have interrupts again. */
  async include(cpus: string, options: { signal: AbortSignal }): Promise<void> {
    await this.#change((mask) => maskOf(mask, { add: parseCpuSet(cpus) }), options);
  }

  /**
   * After a reboot no CPU is excluded, but the service's file may still ban those of containers from before: then it gets back what it
   * said at first. The daemon calls it at its start, before containers are restored.
   */
  async restoreBanned(options: { signal: AbortSignal }): Promise<void> {
    const { affinityFile, balanceFile, bannedFile } = this.places;
    if (bannedFile === "disable") return;
    using _lock = await this.#locks.acquire("mask", options);
    const affinity = await read(affinityFile);
    const config = await read(balanceFile);
    if (affinity === undefined || config === undefined || !isFull(affinity)) return;
    const banned = bannedIn(config);
    const original = (await read(bannedFile))?.trim();
    if (original === undefined) await Deno.writeTextFile(bannedFile, banned);
    else if (original !== banned) {
      await Deno.writeTextFile(balanceFile, withBanned(config, original));
      await this.#restart();
    }
  }

  async #change(change: (mask: bigint) => bigint, options: { signal: AbortSignal }): Promise<void> {
    using _lock = await this.#locks.acquire("mask", options);
    const { affinityFile, balanceFile } = this.places;
    const before = await Deno.readTextFile(affinityFile);
    const words = wordsOf(before);
    const mask = change(parseMask(before));
    await Deno.writeTextFile(affinityFile, formatMask(mask, words));
    const banned = formatMask(all(words) & ~mask, words);
    const config = await read(balanceFile);
    if (config !== undefined) await Deno.writeTextFile(balanceFile, withBanned(config, banned));
    if (config !== undefined && await this.#restart()) return;
    if (await this.deps.run(["irqbalance", "--oneshot"], { [BANNED]: banned })) return;
    this.deps.log.debug("irqbalance is not there: interrupts that are set up already stay where they are");
  }

  async #restart(): Promise<boolean> {
    const { run, log } = this.deps;
    if (!await run(["systemctl", "--quiet", "is-enabled", "irqbalance"])) return false;
    if (await run(["systemctl", "restart", "irqbalance"])) return true;
    log.warn("the irqbalance service could not be restarted: it keeps its CPUs");
    return false;
  }
}

/** CPUs of a mask such as `ff,0000000f`, as a list: for messages and tests. */
export function cpusOfMask(text: string): string {
  const mask = parseMask(text);
  const cpus: number[] = [];
  for (let cpu = 0; mask >> BigInt(cpu) > 0n; cpu++) if ((mask >> BigInt(cpu) & 1n) === 1n) cpus.push(cpu);
  return formatCpuSet(cpus);
}

function maskOf(mask: bigint, { add = [], remove = [] }: { add?: number[]; remove?: number[] }): bigint {
  let changed = mask;
  for (const cpu of add) changed |= 1n << BigInt(cpu);
  for (const cpu of remove) changed &= ~(1n << BigInt(cpu));
  return changed;
}

function parseMask(text: string): bigint {
  const digits = text.trim().replaceAll(",", "");
  if (!/^[0-9a-f]+$/i.test(digits)) throw new TypeError(`CPU mask ${JSON.stringify(text)} is not hexadecimal`);
  return BigInt(`0x${digits}`);
}

/** The kernel takes no mask that is longer than its own. */
function wordsOf(text: string): number {
  return Math.ceil(text.trim().replaceAll(",", "").length / WORD_DIGITS);
}

function all(words: number): bigint {
  return (1n << BigInt(words * WORD_DIGITS * 4)) - 1n;
}

function formatMask(mask: bigint, words: number): string {
  const digits = (mask & all(words)).toString(16).padStart(words * WORD_DIGITS, "0");
  return digits.match(/.{8}/g)?.join(",") ?? digits;
}

/** Whether all CPUs up to the last one are in the mask. */
function isFull(text: string): boolean {
  const mask = parseMask(text);
  return (mask & (mask + 1n)) === 0n;
}

function bannedIn(config: string): string {
  return new RegExp(`^${BANNED}="?([^"\n]*)"?`, "m").exec(config)?.[1] ?? "";
}

function withBanned(config: string, banned: string): string {
  const line = `${BANNED}="${banned}"`;
  const pattern = new RegExp(`^${BANNED}=.*$`, "m");
  if (pattern.test(config)) return config.replace(pattern, line);
  return `${config}${config === "" || config.endsWith("\n") ? "" : "\n"}${line}\n`;
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new Error(`${path}: ${messageOf(error)}`, { cause: error });
  }
}
