import { type ErrorKind, PodError } from "../base/errors.ts";
import type { CniCommand, JsonObject } from "./types.ts";

/** Where a plugin call can fail. */
export type CniStage = "find plugin" | "start" | "run" | "read result";

/** Error codes of the CNI specification that mean something to a caller. */
const KIND_OF_CODE: Readonly<Record<number, ErrorKind>> = {
  1: "failed_precondition", // incompatible CNI version
  7: "failed_precondition", // invalid network configuration
  11: "unavailable", // try again later
  50: "unavailable", // the plugin cannot serve ADD now
  51: "unavailable", // the same, and existing containers may be affected
};

export interface CniFailure {
  readonly plugin: string;
  readonly network: string;
  readonly command: CniCommand;
  readonly stage: CniStage;
  readonly elapsedMs: number;
  readonly message: string;
  /** The plugin's own error code, where it gave one. */
  readonly code?: number;
  /** Default: by code, else internal. */
  readonly kind?: ErrorKind;
}

/** A failed plugin call: which plugin of which network, at which stage, after how long, and the plugin's own words. */
export class CniError extends PodError {
  override readonly kind: ErrorKind;
  readonly plugin: string;
  readonly network: string;
  readonly command: CniCommand;
  readonly stage: CniStage;
  readonly elapsedMs: number;
  readonly code: number | undefined;

  constructor(failure: CniFailure, options?: ErrorOptions) {
    const { plugin, network, command, stage, elapsedMs, message, code } = failure;
    const time = `after ${Math.round(elapsedMs)} ms`;
    super(`CNI plugin ${plugin} of network ${network}: ${command} failed ${time} (${stage}): ${message}`, options);
    this.kind = failure.kind ?? KIND_OF_CODE[code ?? 0] ?? "internal";
    this.plugin = plugin;
    this.network = network;
    this.command = command;
    this.stage = stage;
    this.elapsedMs = elapsedMs;
    this.code = code;
  }
}

/** A network configuration that cannot be used: which file, which key, and why. */
export class CniConfigError extends PodError {
  override readonly kind = "failed_precondition";

  constructor(readonly file: string, readonly key: string, readonly problem: string, options?: ErrorOptions) {
    super(`CNI configuration ${file}: ${key === "" ? "" : `${key}: `}${problem}`, options);
  }
}

/** The error object that a plugin prints: `msg; details`, and its code; undefined when `value` is none. */
export function pluginError(value: JsonObject | undefined): { message: string; code?: number } | undefined {
  if (value === undefined || typeof value["msg"] !== "string") return undefined;
  const { msg, details, code } = value;
  const message = typeof details === "string" && details !== "" ? `${msg}; ${details}` : msg;
  return typeof code === "number" ? { message, code } : { message };
}
