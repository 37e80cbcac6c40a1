import { type OptionTable, parseDurationMs, parseSizeBytes, type RawValue } from "./option.ts";
import {
  type Config,
  HANDLER,
  type HandlerConfig,
  PLACES,
  WORKLOAD,
  WORKLOAD_RESOURCES,
  type WorkloadConfig,
} from "./schema.ts";
import type { ConfigValues } from "./values.ts";

const LEAST_STOP_TIMEOUT_SECONDS = 30;
const LEAST_CREATE_TIMEOUT_SECONDS = 30;
const DEFAULT_MESSAGE_BYTES = 83_886_080;

/**
 * The typed configuration of what was set, with defaults for the rest. Pure: what the host decides was put into
 * `values` by `adaptToHost` before.
 */
export function buildConfig(values: ConfigValues): Config {
  const sections: Record<string, Record<string, unknown>> = {};
  for (const { section, property, option, path } of PLACES) {
    (sections[section] ??= {})[property] = typed(option.kind, values.get(path));
  }
  raiseToFloors(sections);
  // The loop above fills exactly the properties that the type is derived from.
  const fixed = sections as unknown as Omit<Config, "handlers" | "workloads">;
  return { ...fixed, handlers: handlersOf(values), workloads: workloadsOf(values) };
}

function raiseToFloors(sections: Record<string, Record<string, unknown>>): void {
  const runtime = sections["runtime"] ?? {};
  runtime["ctrStopTimeoutSeconds"] = Math.max(LEAST_STOP_TIMEOUT_SECONDS, Number(runtime["ctrStopTimeoutSeconds"]));
  const api = sections["api"] ?? {};
  for (const property of ["grpcMaxSendMsgSizeBytes", "grpcMaxRecvMsgSizeBytes"]) {
    if (Number(api[property]) <= 0) api[property] = DEFAULT_MESSAGE_BYTES;
  }
}

function handlersOf(values: ConfigValues): ReadonlyMap<string, HandlerConfig> {
  const handlers = new Map<string, HandlerConfig>();
  for (const [name, { values: given }] of values.handlers) {
    const handler = typedTable(HANDLER, given);
    handler["containerCreateTimeoutSeconds"] = Math.max(
      LEAST_CREATE_TIMEOUT_SECONDS,
      Number(handler["containerCreateTimeoutSeconds"]),
    );
    handlers.set(name, { name, ...handler } as HandlerConfig);
  }
  return handlers;
}

function workloadsOf(values: ConfigValues): ReadonlyMap<string, WorkloadConfig> {
  const workloads = new Map<string, WorkloadConfig>();
  for (const [name, given] of values.workloads) {
    const resources = typedTable(WORKLOAD_RESOURCES, given.resources);
    workloads.set(name, { name, ...typedTable(WORKLOAD, given.values), resources } as unknown as WorkloadConfig);
  }
  return workloads;
}

function typedTable(options: OptionTable, given: ReadonlyMap<string, RawValue>): Record<string, unknown> {
  const entries = Object.entries(options).map(([property, option]) => {
    return [property, typed(option.kind, given.get(option.key) ?? option.initial)] as const;
  });
  return Object.fromEntries(entries);
}

function typed(kind: string, value: RawValue): unknown {
  // Both were checked when the value was read.
  if (kind === "duration") return parseDurationMs(String(value)) ?? 0;
  return kind === "size" ? parseSizeBytes(String(value)) ?? 0 : value;
}
