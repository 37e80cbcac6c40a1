import type { Option, OptionTable, RawValue } from "./option.ts";
import { HANDLER, PLACES, SECTION_PATH, type SectionName, WORKLOAD, WORKLOAD_RESOURCES } from "./schema.ts";
import { ConfigValues, type SourcedTable } from "./values.ts";

/**
 * - `changed`: what differs from the defaults
 * - `template`: every option, those with their default value as comments
 * - `complete`: every option as it counts
 * - `terse`: as `changed`, without comments
 */
export type TemplateMode = "changed" | "template" | "complete" | "terse";

const HEADER = `# Configuration of crio, the Kubernetes container runtime.
#
# Files in /etc/crio/crio.conf.d are read after this one, in lexical order; environment variables and flags come last.
# Options marked "reload" take effect on SIGHUP.
`;

/** The default configuration, every line a comment: what `crio config --default` prints. */
export function defaultTemplate(): string {
  return renderToml(new ConfigValues(), "template");
}

/** The configuration as commented TOML that the daemon reads back to the same values. */
export function renderToml(values: ConfigValues, mode: TemplateMode): string {
  const parts = mode === "terse" ? [] : [HEADER];
  for (const [section, path] of Object.entries(SECTION_PATH) as Array<[SectionName, string | undefined]>) {
    if (path === undefined) continue;
    const rows = PLACES.filter((place) => place.section === section)
      .map(({ option, path }) => renderOption(option, values.get(path), mode))
      .filter((row) => row !== undefined);
    if (rows.length > 0) parts.push(`[${path}]\n`, ...rows);
    if (section === "runtime") parts.push(...renderTables(values, mode));
  }
  const text = parts.join("\n");
  return mode === "terse" ? text.replaceAll("\n\n", "\n") : text;
}

function renderTables(values: ConfigValues, mode: TemplateMode): readonly string[] {
  const parts: string[] = [];
  for (const [name, handler] of values.handlers) {
    parts.push(`[crio.runtime.runtimes.${keyText(name)}]\n`, ...renderTable(HANDLER, handler.values, mode));
  }
  if (mode === "template" && values.handlers.size === 0) {
    parts.push("# [crio.runtime.runtimes.crun]\n", ...renderTable(HANDLER, new Map(), mode));
  }
  for (const [name, workload] of values.workloads) parts.push(...renderWorkload(name, workload, mode));
  return parts;
}

function renderWorkload(name: string, workload: SourcedTable, mode: TemplateMode): readonly string[] {
  const path = `crio.runtime.workloads.${keyText(name)}`;
  return [
    `[${path}]\n`,
    ...renderTable(WORKLOAD, workload.values, mode),
    `[${path}.resources]\n`,
    ...renderTable(WORKLOAD_RESOURCES, workload.resources, mode),
  ];
}

function renderTable(
  options: OptionTable,
  given: ReadonlyMap<string, RawValue>,
  mode: TemplateMode,
): readonly string[] {
  return Object.values(options)
    .map((option) => renderOption(option, given.get(option.key) ?? option.initial, mode))
    .filter((row) => row !== undefined);
}

function renderOption(option: Option, value: RawValue, mode: TemplateMode): string | undefined {
  const isDefault = JSON.stringify(value) === JSON.stringify(option.initial);
  if ((mode === "changed" || mode === "terse") && isDefault) return undefined;
  const notes = [
    ...(option.deprecated === undefined ? [] : [`Deprecated: ${option.deprecated}.`]),
    ...(option.built ? [] : ["Accepted, without effect in this version."]),
    ...(option.reload ? ["(reload)"] : []),
  ];
  const comment = mode === "terse" ? "" : [...option.doc.split("\n"), ...notes].map((line) => `# ${line}\n`).join("");
  const assignment = `${option.key} = ${tomlValue(value)}`;
  const line = mode === "template" && isDefault ? assignment.replace(/^/gm, "# ") : assignment;
  return `${comment}${line}\n`;
}

function tomlValue(value: RawValue): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value !== "object") return String(value);
  if (isList(value)) {
    if (value.length < 2) return `[${value.map(quoted).join("")}]`;
    return `[\n${value.map((item) => `  ${quoted(item)},\n`).join("")}]`;
  }
  const items = Object.entries(value).map(([key, item]) => `${keyText(key)} = ${quoted(item)}`);
  return items.length === 0 ? "{}" : `{ ${items.join(", ")} }`;
}

function isList(value: object): value is readonly string[] {
  return Array.isArray(value);
}

function keyText(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : quoted(key);
}

function quoted(text: string): string {
  // JSON escapes what a basic string of TOML must, apart from DEL.
  return JSON.stringify(text).replaceAll("\x7f", "\\u007F");
}
