/**
 * The one schema table: every option with its key, type, default, flag, environment variable, check and text. Types,
 * defaults, template, flags and validation all come from it.
 *
 * @module
 */
import {
  API,
  CHECKPOINT_RESTORE,
  CRIO,
  METRICS,
  NETWORK,
  NRI,
  NRI_VALIDATOR,
  PROCESS,
  STATS,
  TRACING,
} from "./_schema_base.ts";
import { WORKLOAD, WORKLOAD_RESOURCES } from "./_schema_base.ts";
import { IMAGE } from "./_schema_image.ts";
import { HANDLER, RUNTIME } from "./_schema_runtime.ts";
import type { Option, OptionTable, Typed } from "./option.ts";

/** Tables of fixed options by their name in the typed configuration. */
export const SECTIONS = {
  crio: CRIO,
  api: API,
  runtime: RUNTIME,
  checkpointRestore: CHECKPOINT_RESTORE,
  image: IMAGE,
  network: NETWORK,
  metrics: METRICS,
  tracing: TRACING,
  stats: STATS,
  nri: NRI,
  nriValidator: NRI_VALIDATOR,
  process: PROCESS,
} as const;

export type SectionName = keyof typeof SECTIONS;

/** TOML table of each section; undefined: flags and environment only. */
export const SECTION_PATH: Readonly<Record<SectionName, string | undefined>> = {
  crio: "crio",
  api: "crio.api",
  runtime: "crio.runtime",
  checkpointRestore: "crio.checkpoint_restore",
  image: "crio.image",
  network: "crio.network",
  metrics: "crio.metrics",
  tracing: "crio.tracing",
  stats: "crio.stats",
  nri: "crio.nri",
  nriValidator: "crio.nri.default_validator",
  process: undefined,
};

export { HANDLER, WORKLOAD, WORKLOAD_RESOURCES };

/** A runtime handler: one `[crio.runtime.runtimes.<name>]`. */
export type HandlerConfig = Typed<typeof HANDLER> & { readonly name: string };

/** A workload: one `[crio.runtime.workloads.<name>]`. */
export type WorkloadConfig = Typed<typeof WORKLOAD> & {
  readonly name: string;
  readonly resources: Typed<typeof WORKLOAD_RESOURCES>;
};

/** The whole configuration, typed: one property per section, one per option. */
export type Config =
  & { readonly [S in SectionName]: Typed<(typeof SECTIONS)[S]> }
  & {
    /** By name; holds `runtime.defaultRuntime` whenever the configuration was checked for execution. */
    readonly handlers: ReadonlyMap<string, HandlerConfig>;
    readonly workloads: ReadonlyMap<string, WorkloadConfig>;
  };

/** One option with the place where it lives. */
export interface Place {
  readonly section: SectionName;
  /** Name in the typed configuration. */
  readonly property: string;
  readonly option: Option;
  /** `crio.runtime.log_level`; for flag-only options `process.log`. */
  readonly path: string;
}

/** All fixed options in template order. */
export const PLACES: readonly Place[] = Object.entries(SECTIONS).flatMap(([name, options]: [string, OptionTable]) => {
  const section = name as SectionName;
  const prefix = SECTION_PATH[section] ?? section;
  return Object.entries(options).map(([property, option]) => ({
    section,
    property,
    option,
    path: `${prefix}.${option.key}`,
  }));
});

/** Fixed options by path. */
export const PLACE_BY_PATH: ReadonlyMap<string, Place> = new Map(PLACES.map((place) => [place.path, place]));
