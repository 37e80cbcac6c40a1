import type { LogFields, LogLevel } from "../base/logger.ts";

/** One event, ready to be written. */
export interface LogEntry {
  readonly timeNanos: bigint;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export type LogFormat = "text" | "json";

/** The line of an entry, newline included. */
export function formatEntry(entry: LogEntry, format: LogFormat): string {
  return format === "json" ? jsonLine(entry) : textLine(entry);
}

/** RFC 3339 in UTC with nine digits. */
export function formatTime(timeNanos: bigint): string {
  const seconds = new Date(Number(timeNanos / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${(timeNanos % 1_000_000_000n).toString().padStart(9, "0")}Z`;
}

// logrus writes "warning" in both of its formats, although the option is spelt "warn".
function levelName(level: LogLevel): string {
  return level === "warn" ? "warning" : level;
}

function textLine({ timeNanos, level, message, fields }: LogEntry): string {
  let line = `time="${formatTime(timeNanos)}" level=${levelName(level)} msg=${quoteIfNeeded(message)}`;
  for (const [key, value] of sortedFields(fields)) line += ` ${key}=${quoteIfNeeded(String(value))}`;
  return `${line}\n`;
}

function jsonLine({ timeNanos, level, message, fields }: LogEntry): string {
  const object: Record<string, string | number | boolean> = {};
  for (const [key, value] of sortedFields(fields)) object[key] = typeof value === "bigint" ? String(value) : value;
  object["level"] = levelName(level);
  object["msg"] = message;
  object["time"] = formatTime(timeNanos);
  return `${JSON.stringify(object)}\n`;
}

const RESERVED = new Set(["level", "msg", "time"]);

/** Fields in byte order of their keys; one that would hide a fixed one is renamed, as logrus does. */
function sortedFields(fields: LogFields): ReadonlyArray<readonly [string, string | number | boolean | bigint]> {
  const entries: Array<readonly [string, string | number | boolean | bigint]> = [];
  for (const key in fields) {
    const value = fields[key];
    if (value !== undefined) entries.push([RESERVED.has(key) ? `fields.${key}` : key, value]);
  }
  return entries.sort(([left], [right]) => left < right ? -1 : 1);
}

const PLAIN = /^[A-Za-z0-9\-._/@^+]*$/;

/** logrus' rule: anything but letters, digits and `-._/@^+` puts the value into quotes. */
function quoteIfNeeded(text: string): string {
  return PLAIN.test(text) ? text : goQuote(text);
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  '"': '\\"',
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** As Go's `%q`: what cannot be printed is escaped, so that a message is always one line. */
function goQuote(text: string): string {
  const escaped = text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, (character) => {
    const known = ESCAPES[character];
    if (known !== undefined) return known;
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return `"${escaped}"`;
}
