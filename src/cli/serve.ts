import { messageOf } from "../base/errors.ts";
import type { Logger, LogLevel } from "../base/logger.ts";
import { VERSION } from "../base/version.ts";
import { adaptToHost, detectHost } from "../config/adapt.ts";
import { LiveConfig, type ReloadObserver } from "../config/live.ts";
import { reportConfig } from "../config/report.ts";
import type { Config } from "../config/schema.ts";
import { renderToml } from "../config/template.ts";
import type { ConfigValues } from "../config/values.ts";
import { shutInspectorSignal } from "../linux/signals.ts";
import { isJournal } from "../log/journal.ts";
import { Log } from "../log/logger.ts";
import { Service, takeServiceVariables } from "../node/service.ts";

const UMASK = 0o022;

/** What the daemon gets besides its configuration. */
export interface ServeOptions {
  /** Aborts when the daemon is to stop; containers keep running. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Told when the daemon serves and when it stops. */
  readonly service: Service;
  /** The configuration, which can be reloaded. */
  readonly live: LiveConfig;
}

/** Runs until the signal aborts; gives the exit code. `daemon.ts` exports one. */
export type RunDaemon = (config: Config, options: ServeOptions) => Promise<number>;

async function loadDaemon(): Promise<RunDaemon> {
  return (await import("../daemon.ts")).runDaemon;
}

/**
 * `crio`: the daemon in the foreground.
 *
 * @param read reads the configuration from all its sources; again for each reload
 * @param load gives the daemon once the configuration was found good
 * @throws ConfigError when the daemon cannot start with these values
 */
export async function serveCommand(read: () => Promise<ConfigValues>, load = loadDaemon): Promise<number> {
  shutInspectorSignal();
  const variables = takeServiceVariables();
  Deno.umask(UMASK);
  const live: LiveConfig = new LiveConfig(
    {
      values: await read(),
      load: read,
      adapt: (values) => adaptToHost(values, detectHost(Deno.env.get("PATH") ?? "")),
    },
    { log: () => log.root, observer: () => told(service) },
  );
  const { config } = live;
  await using log = new Log({
    // Both were checked against their lists when they were read.
    level: config.runtime.logLevel as LogLevel,
    format: config.process.logFormat === "json" ? "json" : "text",
    filter: config.runtime.logFilter,
    path: config.process.logPath,
    journal: config.process.logPath === "" && isJournal(Deno.env.get("JOURNAL_STREAM")),
  });
  using service = new Service(variables, log.root);
  announce(live.values, log.root);
  live.join((next) => Promise.resolve(() => adjust(log, next)));
  using stop = stopSignals(log, { reload: () => void live.reload().catch(() => {}) });
  try {
    const run = await load();
    return await run(config, { signal: stop.signal, log: log.root, service, live });
  } catch (error) {
    log.root.error(`the daemon failed: ${messageOf(error)}`);
    if (error instanceof Error) log.root.debug(error.stack ?? "");
    return 1;
  }
}

function adjust(log: Log, { runtime }: Config): void {
  log.setLevel(runtime.logLevel as LogLevel);
  log.setFilter(runtime.logFilter);
}

function told(service: Service): ReloadObserver {
  return {
    begun: (): void => service.reloading(),
    ended: (failure): void =>
      service.ready(failure === undefined ? "Configuration reloaded" : `Configuration not reloaded: ${failure}`),
  };
}

function announce(values: ConfigValues, log: Logger): void {
  log.info(`Starting crio ${VERSION}`, { pid: Deno.pid, deno: Deno.version.deno });
  reportConfig(values, log);
  log.info(`Configuration where it differs from the defaults:\n${renderToml(values, "terse")}`);
  log.trace(`Configuration:\n${renderToml(values, "complete")}`);
}

/** What CRI-O does for SIGUSR2: collects garbage. The memory before and after is logged. */
async function collect(log: Logger): Promise<void> {
  const { releaseMemory } = await import("../image/pull/release_memory.ts");
  const before = Deno.memoryUsage();
  await releaseMemory();
  const { rss, heapUsed } = Deno.memoryUsage();
  const freed = { rssBytes: rss, heapBytes: heapUsed, rssBefore: before.rss, heapBefore: before.heapUsed };
  log.info("SIGUSR2: garbage is collected; `crio status goroutines` shows what runs", freed);
}

/** SIGTERM and SIGINT ask to stop; the second one ends the process at once. SIGHUP reloads, the outcome is logged; SIGUSR2 collects garbage. */
function stopSignals(
  log: Log,
  { reload }: { readonly reload: () => void },
): Disposable & { readonly signal: AbortSignal } {
  using listeners = new DisposableStack();
  const controller = new AbortController();
  const listen = (name: Deno.Signal, listener: () => void): void => {
    Deno.addSignalListener(name, listener);
    listeners.defer(() => Deno.removeSignalListener(name, listener));
  };
  for (const [name, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
    listen(name, () => {
      if (controller.signal.aborted) {
        log.root.error(`${name} again: ending at once`);
        log.flushSync();
        Deno.exit(128 + number);
      }
      log.root.info(`${name}: stopping; containers keep running`);
      controller.abort(new DOMException(`stopped by ${name}`, "AbortError"));
    });
  }
  listen("SIGHUP", reload);
  listen("SIGUSR2", () => void collect(log.root));
  const open = listeners.move();
  return { signal: controller.signal, [Symbol.dispose]: () => open.dispose() };
}
