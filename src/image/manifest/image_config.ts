/** The image configuration (OCI image specification, config.md; Docker's is the same in what is read here). */
import { DataLossError, messageOf } from "../../base/errors.ts";
import { type Digest, parseDigest } from "../../base/ids.ts";
import { isObject, jsonObject } from "./documents.ts";

/** The `config` part: defaults for containers. */
export interface ImageConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  /** Empty when not given. */
  readonly stopSignal: string;
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** `<os>/<architecture>` that it is built for; either may be empty. */
  readonly platform: string;
}

/** What a pull needs of the document. */
export interface ConfigSummary {
  readonly diffIds: readonly Digest[];
  /** RFC 3339, or undefined. */
  readonly created: string | undefined;
  readonly os: string;
  readonly architecture: string;
}

/**
 * @param layerCount of the manifest; the configuration has to name as many diff IDs
 * @throws DataLossError
 */
export function parseConfigSummary(bytes: Uint8Array, layerCount: number): ConfigSummary {
  const document = jsonObject(bytes, "image configuration");
  const { rootfs, created, os, architecture } = document;
  if (!isObject(rootfs) || rootfs["type"] !== "layers") {
    throw new DataLossError('image configuration: rootfs.type is not "layers"');
  }
  const ids: unknown = rootfs["diff_ids"] ?? [];
  if (!Array.isArray(ids)) throw new DataLossError("image configuration: rootfs.diff_ids is not a list");
  if (ids.length !== layerCount) {
    throw new DataLossError(
      `image configuration: it has ${ids.length} diff IDs where the manifest has ${layerCount} layers`,
    );
  }
  return {
    diffIds: ids.map(diffId),
    created: typeof created === "string" ? created : undefined,
    os: typeof os === "string" ? os : "",
    architecture: typeof architecture === "string" ? architecture : "",
  };
}

/** The defaults for containers; fields of a wrong type count as absent. @throws DataLossError when it is no JSON */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const document = jsonObject(bytes, "image configuration");
  const config = isObject(document["config"]) ? document["config"] : {};
  return {
    user: text(config["User"]),
    env: strings(config["Env"]),
    entrypoint: strings(config["Entrypoint"]),
    cmd: strings(config["Cmd"]),
    workingDir: text(config["WorkingDir"]),
    stopSignal: text(config["StopSignal"]),
    volumes: isObject(config["Volumes"]) ? Object.keys(config["Volumes"]) : [],
    labels: labels(config["Labels"]),
    platform: `${text(document["os"])}/${text(document["architecture"])}`,
  };
}

function diffId(value: unknown): Digest {
  try {
    return parseDigest(typeof value === "string" ? value : "");
  } catch (error) {
    throw new DataLossError(`image configuration: diff ID: ${messageOf(error)}`, { cause: error });
  }
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function labels(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  const entries = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(entries);
}
