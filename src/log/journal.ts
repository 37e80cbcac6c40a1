import type { LogLevel } from "../base/logger.ts";

/** Severities of syslog(3), as sd-daemon(3) puts them before a line. */
const SEVERITY: Readonly<Record<LogLevel, number>> = {
  panic: 0,
  fatal: 2,
  error: 3,
  warn: 4,
  info: 6,
  debug: 7,
  trace: 7,
};

/** What tells the journal the severity of a line; the journal takes it off. */
export function journalPrefix(level: LogLevel): string {
  return `<${SEVERITY[level]}>`;
}

/**
 * Whether a file is the journal's socket, systemd.exec(5). Reads one inode, at the start.
 *
 * @param stream `JOURNAL_STREAM`: device and inode with a colon between
 */
export function isJournal(stream: string | undefined, file = "/proc/self/fd/2"): boolean {
  if (stream === undefined || stream === "") return false;
  try {
    const { dev, ino } = Deno.statSync(file);
    return stream === `${dev}:${ino}`;
  } catch {
    return false; // closed: nobody reads it
  }
}
