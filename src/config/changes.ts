import type { OptionTable, RawValue } from "./option.ts";
import { HANDLER, PLACES, WORKLOAD, WORKLOAD_RESOURCES } from "./schema.ts";
import { ConfigValues, type SourcedTable } from "./values.ts";

/** One option that differs between two configurations. */
export interface OptionChange {
  /** `crio.runtime.log_level`, `crio.runtime.runtimes.crun.runtime_path`. */
  readonly path: string;
  /** As it is shown; empty: there was no such handler or workload. */
  readonly before: string;
  /** As it is shown; empty: there is none any more. */
  readonly after: string;
  /** Where the new value comes from. */
  readonly source: string;
}

/** Their values may be secrets: only the names are shown. */
const SECRET_KEYS: ReadonlySet<string> = new Set(["default_env", "conmon_env", "monitor_env"]);

/** What differs, in the order of the schema; handlers and workloads come last. */
export function changesOf(before: ConfigValues, after: ConfigValues): readonly OptionChange[] {
  const fixed = PLACES.flatMap(({ option, path }) => {
    const source = after.fixed.get(path)?.source ?? "default";
    return changeOf(path, { key: option.key, before: before.get(path), after: after.get(path), source });
  });
  const empty: SourcedTable = { values: new Map(), resources: new Map(), source: "" };
  return [
    ...fixed,
    ...tablesOf(before.handlers, after.handlers).flatMap(([name, old = empty, now = empty]) =>
      changesIn(HANDLER, `crio.runtime.runtimes.${name}`, { before: old.values, after: now.values, source: now.source })
    ),
    ...tablesOf(before.workloads, after.workloads).flatMap(([name, old = empty, now = empty]) => {
      const path = `crio.runtime.workloads.${name}`;
      const { source } = now;
      return [
        ...changesIn(WORKLOAD, path, { before: old.values, after: now.values, source }),
        ...changesIn(WORKLOAD_RESOURCES, `${path}.resources`, { before: old.resources, after: now.resources, source }),
      ];
    }),
  ];
}

/**
 * What a running daemon makes of new files: each option that changes live as in `fresh`, each other one as it runs. Handlers and
 * workloads are live as a whole.
 */
export function liveValues(running: ConfigValues, fresh: ConfigValues): ConfigValues {
  const merged = new ConfigValues();
  for (const { option, path } of PLACES) {
    const set = (option.reload ? fresh : running).fixed.get(path);
    if (set !== undefined) merged.fixed.set(path, set);
  }
  for (const [name, handler] of fresh.handlers) merged.handlers.set(name, handler);
  for (const [name, workload] of fresh.workloads) merged.workloads.set(name, workload);
  merged.warnings.push(...fresh.warnings);
  return merged;
}

/** The same values in an object of its own: completing them from the host leaves the original as it is. */
export function copyOf(values: ConfigValues): ConfigValues {
  return liveValues(values, values);
}

type Pair = readonly [name: string, before: SourcedTable | undefined, after: SourcedTable | undefined];

function tablesOf(before: ReadonlyMap<string, SourcedTable>, after: ReadonlyMap<string, SourcedTable>): Pair[] {
  return [...new Set([...before.keys(), ...after.keys()])].map((name) => [name, before.get(name), after.get(name)]);
}

function changesIn(
  options: OptionTable,
  path: string,
  { before, after, source }: {
    before: ReadonlyMap<string, RawValue>;
    after: ReadonlyMap<string, RawValue>;
    source: string;
  },
): readonly OptionChange[] {
  return Object.values(options).flatMap(({ key }) =>
    changeOf(`${path}.${key}`, { key, before: before.get(key), after: after.get(key), source })
  );
}

function changeOf(
  path: string,
  { key, before, after, source }: {
    key: string;
    before: RawValue | undefined;
    after: RawValue | undefined;
    source: string;
  },
): readonly OptionChange[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  return [{ path, before: shown(key, before), after: shown(key, after), source: source === "" ? "removed" : source }];
}

function shown(key: string, value: RawValue | undefined): string {
  if (value === undefined) return "";
  if (SECRET_KEYS.has(key) && Array.isArray(value)) {
    return JSON.stringify(value.map((line: string) => line.replace(/=.*/s, "=…")));
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
