import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { buildConfig } from "./build.ts";
import { changesOf, copyOf, liveValues, type OptionChange } from "./changes.ts";
import { type Config, PLACES } from "./schema.ts";
import { renderToml } from "./template.ts";
import type { ConfigValues } from "./values.ts";

/** Takes over a new configuration once all parts have agreed. Must not fail. */
export type Apply = () => void;

/**
 * A part of the daemon that holds more than the configuration itself. It is asked first: it reads files, opens what it
 * needs, and throws what is wrong; nothing of the running daemon changes meanwhile.
 */
export type Prepare = (next: Config, changed: ReadonlySet<string>) => Promise<Apply | undefined>;

/** What became of a reload. */
export interface ReloadReport {
  /** In force from now on. */
  readonly applied: readonly OptionChange[];
  /** Written in the files, in force after a restart. */
  readonly pending: readonly OptionChange[];
  /** What is odd about the files. */
  readonly warnings: readonly string[];
}

/** Told of the course of reloads. */
export interface ReloadObserver {
  begun(): void;
  /** @param failure why nothing was changed */
  ended(failure?: string): void;
}

export interface LiveConfigOptions {
  /** As written, before the host completes it. */
  readonly values: ConfigValues;
  /** Reads all sources anew. @throws ConfigError */
  load(): Promise<ConfigValues>;
  /** Completes values from the host. @throws ConfigError */
  adapt(values: ConfigValues): void;
}

/**
 * The configuration of a running daemon. `config` is one object for its whole life: options that change live change in it,
 * so whoever reads them from there when they are needed sees the new value; parts that keep something made of them
 * join by {@link join}.
 *
 * Life: join parts -> `open` -> reloads. A reload that is asked for before `open` waits for it.
 */
export class LiveConfig {
  readonly config: Config;
  #raw: ConfigValues;
  #effective: ConfigValues;
  readonly #parts: Prepare[] = [];
  readonly #opened = Promise.withResolvers<void>();
  #running: Promise<unknown> | undefined;
  #next: Promise<ReloadReport> | undefined;

  /** @throws ConfigError when the host cannot run with these values */
  constructor(
    private readonly options: LiveConfigOptions,
    private readonly deps: { readonly log: () => Logger; readonly observer: () => ReloadObserver },
  ) {
    this.#raw = options.values;
    this.#effective = this.#adapted(options.values);
    this.config = buildConfig(this.#effective);
  }

  /** What counts now, with what the host decided. */
  get values(): ConfigValues {
    return this.#effective;
  }

  /** What counts now as TOML, all of it. */
  toml(): string {
    return renderToml(this.#effective, "complete");
  }

  join(part: Prepare): void {
    this.#parts.push(part);
  }

  /** All parts have joined. */
  open(): void {
    this.#opened.resolve();
  }

  /**
   * Reads everything anew and applies what changes live. Requests that come while one runs share the next one.
   *
   * @throws ConfigError with the file and the key path, or what a part refuses; nothing has changed then
   */
  reload(): Promise<ReloadReport> {
    return this.#next ??= this.#start();
  }

  async #start(): Promise<ReloadReport> {
    await this.#running?.catch(() => {});
    await this.#opened.promise;
    // From here on files may change unseen: whoever asks now needs another one.
    this.#next = undefined;
    const work = this.#reload();
    this.#running = work;
    return await work;
  }

  async #reload(): Promise<ReloadReport> {
    const [log, observer] = [this.deps.log(), this.deps.observer()];
    observer.begun();
    try {
      const report = await this.#read();
      for (const warning of report.warnings) log.warn(warning);
      for (const { path, before, after, source } of report.applied) {
        log.info(`Set config ${path} to ${JSON.stringify(after)}`, { was: before, source });
      }
      for (const { path, before, after, source } of report.pending) {
        log.warn(`${path} needs a restart to become ${JSON.stringify(after)}`, { is: before, source });
      }
      log.info("Configuration reload completed", { changed: report.applied.length, pending: report.pending.length });
      observer.ended();
      return report;
    } catch (error) {
      log.error(`Unable to reload configuration: ${messageOf(error)}`);
      observer.ended(messageOf(error));
      throw error;
    }
  }

  async #read(): Promise<ReloadReport> {
    const fresh = await this.options.load();
    const raw = liveValues(this.#raw, fresh);
    const [effective, wanted] = [this.#adapted(raw), this.#adapted(fresh)];
    const next = buildConfig(effective);
    const applied = changesOf(this.#effective, effective).filter(({ path }) => isLive(path));
    const changed = new Set(applied.map(({ path }) => path));
    const applies: Array<Apply | undefined> = [];
    for (const prepare of this.#parts) applies.push(await prepare(next, changed));
    this.#take(next);
    for (const apply of applies) apply?.();
    const known = new Set(this.#effective.warnings.map(textOf));
    const warnings = effective.warnings.map(textOf).filter((text) => !known.has(text));
    [this.#raw, this.#effective] = [raw, effective];
    return { applied, pending: changesOf(effective, wanted).filter(({ path }) => !isLive(path)), warnings };
  }

  #adapted(values: ConfigValues): ConfigValues {
    const copy = copyOf(values);
    this.options.adapt(copy);
    return copy;
  }

  /** Puts the live options of `next` into the one configuration. */
  #take(next: Config): void {
    for (const { section, property, option } of PLACES) {
      if (!option.reload) continue;
      const [target, source] = [this.config[section], next[section]] as Array<Record<string, unknown>>;
      if (target !== undefined) target[property] = source?.[property];
    }
    replace(this.config.handlers, next.handlers);
    replace(this.config.workloads, next.workloads);
  }
}

const FIXED: ReadonlyMap<string, boolean> = new Map(PLACES.map(({ path, option }) => [path, option.reload]));

/** What has no row of its own belongs to a handler or a workload. */
function isLive(path: string): boolean {
  return FIXED.get(path) ?? true;
}

/** The maps were made by `buildConfig`; everybody else may only read them. */
function replace<Value>(map: ReadonlyMap<string, Value>, by: ReadonlyMap<string, Value>): void {
  const own = map as Map<string, Value>;
  own.clear();
  for (const [name, value] of by) own.set(name, value);
}

function textOf({ source, keyPath, problem }: ConfigValues["warnings"][number]): string {
  return `${source}: ${keyPath}: ${problem}`;
}
