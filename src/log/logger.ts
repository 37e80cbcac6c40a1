import { type Clock, systemClock } from "../base/clock.ts";
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel } from "../base/logger.ts";
import { formatEntry, type LogFormat } from "./_format.ts";
import { journalPrefix } from "./journal.ts";
import { fileOutput, type LogOutput, LogSink, stderrOutput } from "./sink.ts";

export interface LogOptions {
  /** Least severe level that is written. Default `info`. */
  readonly level?: LogLevel;
  /** Default `text`. */
  readonly format?: LogFormat;
  /** Regular expression: only messages that match it are written. Empty: all. */
  readonly filter?: string;
  /** File to append to. Empty: standard error. */
  readonly path?: string;
  /** Whether lines go to the journal and begin with their severity. Default: no. */
  readonly journal?: boolean;
  readonly clock?: Clock;
  /** Instead of `path`. */
  readonly output?: LogOutput;
}

/**
 * The daemon's log: the root logger, and what can be changed while it runs. Disposing writes what waits.
 *
 * Text lines are logrus': `time="…" level=info msg="…" id=… name=…`, fields sorted by key; JSON lines have the same
 * fields. `panic` and `fatal` are accepted as levels and let no line through: nothing is logged there.
 */
export class Log implements AsyncDisposable {
  readonly root: Logger;
  readonly #sink: LogSink;
  readonly #format: LogFormat;
  readonly #clock: Clock;
  readonly #journal: boolean;
  #level: number;
  #filter: RegExp | undefined;

  constructor(options: LogOptions = {}) {
    const { level = "info", format = "text", filter = "", path = "", clock = systemClock } = options;
    this.#format = format;
    this.#clock = clock;
    this.#journal = options.journal === true;
    this.#level = LOG_LEVELS.indexOf(level);
    this.#filter = filter === "" ? undefined : new RegExp(filter);
    const output = options.output ?? (path === "" ? stderrOutput() : fileOutput(path));
    this.#sink = new LogSink(output, {
      dropNotice: (count) => this.#line("warn", `${count} log lines dropped: the reader of the log is too slow`, {}),
    });
    this.root = new BoundLogger((level, message, fields) => this.#write(level, message, fields), {});
  }

  /** Takes effect with the next line. */
  setLevel(level: LogLevel): void {
    this.#level = LOG_LEVELS.indexOf(level);
  }

  /** @throws SyntaxError when `pattern` is no regular expression; the filter before stays then */
  setFilter(pattern: string): void {
    this.#filter = pattern === "" ? undefined : new RegExp(pattern);
  }

  /** Resolves when everything logged so far was written. */
  flush(): Promise<void> {
    return this.#sink.flush();
  }

  /** Writes what waits now; right before the process ends. */
  flushSync(): void {
    this.#sink.flushSync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sink[Symbol.asyncDispose]();
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    const rank = LOG_LEVELS.indexOf(level);
    if (rank > this.#level || this.#filter?.test(message) === false) return;
    this.#sink.push(this.#line(level, message, fields), { important: rank <= ERROR_RANK });
  }

  #line(level: LogLevel, message: string, fields: LogFields): string {
    const line = formatEntry({ timeNanos: this.#clock.nowNanos(), level, message, fields }, this.#format);
    return this.#journal ? journalPrefix(level) + line : line;
  }
}

const ERROR_RANK = LOG_LEVELS.indexOf("error");

type Write = (level: LogLevel, message: string, fields: LogFields) => void;

class BoundLogger implements Logger {
  constructor(private readonly write: Write, private readonly bound: LogFields) {}

  error(message: string, fields?: LogFields): void {
    this.#log("error", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#log("warn", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#log("info", message, fields);
  }
  debug(message: string, fields?: LogFields): void {
    this.#log("debug", message, fields);
  }
  trace(message: string, fields?: LogFields): void {
    this.#log("trace", message, fields);
  }

  with(fields: LogFields): Logger {
    return new BoundLogger(this.write, { ...this.bound, ...fields });
  }

  #log(level: LogLevel, message: string, fields: LogFields | undefined): void {
    this.write(level, message, fields === undefined ? this.bound : { ...this.bound, ...fields });
  }
}
