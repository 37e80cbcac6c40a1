/** What a runtime says of itself with `--version`. */
export interface RuntimeVersion {
  /** `crun`, `runc`, … as the program calls itself. */
  readonly program: string;
  /** e.g. `1.8.1`; empty when it says none. */
  readonly version: string;
  readonly major: number;
  readonly minor: number;
  /** The OCI runtime specification it follows, e.g. `1.0.2-dev`; empty when it says none. */
  readonly spec: string;
}

/** The part of `<runtime> features` (OCI runtime-spec features.md) that this daemon uses. */
export interface RuntimeFeatures {
  readonly ociVersionMin: string;
  readonly ociVersionMax: string;
  readonly mountOptions: readonly string[];
  readonly recursiveReadOnly: boolean;
  readonly idMappedMounts: boolean;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Parses the output of `--version`. */
export function parseVersion(output: string): RuntimeVersion {
  const match = /^(\S+) version (\S+)/m.exec(output);
  const version = match?.[2] ?? "";
  const numbers = /^v?(\d+)\.(\d+)/.exec(version);
  return {
    program: match?.[1] ?? "",
    version,
    major: Number(numbers?.[1] ?? 0),
    minor: Number(numbers?.[2] ?? 0),
    spec: /^spec: (\S+)/m.exec(output)?.[1] ?? "",
  };
}

/** Parses the output of `features`; undefined when it is not the expected JSON object. */
export function parseFeatures(output: string): RuntimeFeatures | undefined {
  const root = record(parseJson(output));
  if (root === undefined) return undefined;
  const mountOptions = strings(root["mountOptions"]);
  const extensions = record(record(root["linux"])?.["mountExtensions"]);
  return {
    ociVersionMin: text(root["ociVersionMin"]),
    ociVersionMax: text(root["ociVersionMax"]),
    mountOptions,
    recursiveReadOnly: mountOptions.includes("rro"),
    idMappedMounts: record(extensions?.["idmap"])?.["enabled"] === true,
    annotations: Object.fromEntries(
      Object.entries(record(root["annotations"]) ?? {}).map(([key, value]) => [key, String(value)]),
    ),
  };
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
