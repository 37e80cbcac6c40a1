/** Severity names, most severe first, as CRI-O's `log_level` spells them. */
export const LOG_LEVELS = ["panic", "fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Values that can stand behind a key in a log line. */
export type LogFields = Readonly<Record<string, string | number | boolean | bigint | undefined>>;

/**
 * What every part of the daemon logs through. Declared here so that the lower layers need no import of `log/`, which
 * implements it.
 */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  trace(message: string, fields?: LogFields): void;
  /** The same logger with `fields` on each of its lines. */
  with(fields: LogFields): Logger;
}

/** Drops everything: for tests and for parts that run without a daemon. */
export const silentLogger: Logger = {
  error: (): void => {},
  warn: (): void => {},
  info: (): void => {},
  debug: (): void => {},
  trace: (): void => {},
  with: (): Logger => silentLogger,
};
