import { InvalidArgumentError } from "../../base/errors.ts";
import type { OciHook } from "../spec/types.ts";

/** Stages of the OCI runtime-spec at which hooks run. */
export const HOOK_STAGES = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const;
export type HookStage = typeof HOOK_STAGES[number];

/** For which containers a hook is. */
export interface HookConditions {
  /** `all` that are set have to hold (1.0.0), or `any` of them (0.1.0). */
  readonly needs: "all" | "any";
  readonly always?: boolean;
  readonly hasBindMounts?: boolean;
  /** Pairs: some annotation has a key and a value that match. */
  readonly annotations: ReadonlyArray<{ readonly key: RegExp; readonly value: RegExp }>;
  /** One of them matches the first word of the command line. */
  readonly commands: readonly RegExp[];
}

/** One file of a hooks directory, see oci-hooks(5). */
export interface HookDefinition {
  readonly hook: OciHook;
  readonly when: HookConditions;
  readonly stages: readonly HookStage[];
}

/**
 * Reads a definition of version 1.0.0, or of 0.1.0, which has no version.
 *
 * @throws InvalidArgumentError that names what is wrong
 */
export function parseHook(text: string): HookDefinition {
  const root = object(json(text), "the file");
  const version = root["version"];
  if (version === undefined) return parseOld(root);
  if (version !== "1.0.0") {
    throw new InvalidArgumentError(`version ${JSON.stringify(version)} is neither 1.0.0 nor 0.1.0`);
  }
  const when = object(root["when"], "when");
  const annotations = Object.entries(object(when["annotations"] ?? {}, "when.annotations"));
  return {
    hook: hookOf(object(root["hook"], "hook")),
    when: {
      needs: "all",
      ...flag(when, "always"),
      ...flag(when, "hasBindMounts"),
      annotations: annotations.map(([key, value]) => ({
        key: pattern(key, "when.annotations"),
        value: pattern(value, "when.annotations"),
      })),
      commands: strings(when["commands"], "when.commands").map((word) => pattern(word, "when.commands")),
    },
    stages: stagesOf(strings(root["stages"], "stages")),
  };
}

/** The older form: flat, with two spellings of each list; one condition is enough. */
function parseOld(root: Record<string, unknown>): HookDefinition {
  const list = (plural: string, singular: string): string[] => {
    if (root[plural] !== undefined && root[singular] !== undefined) {
      throw new InvalidArgumentError(`${plural} and ${singular} are both given`);
    }
    return strings(root[plural] ?? root[singular], plural);
  };
  const path = absolute(root["hook"], "hook");
  const args = strings(root["arguments"], "arguments");
  const values = list("annotations", "annotation");
  return {
    hook: { path, ...(args.length === 0 ? {} : { args: [path, ...args] }) },
    when: {
      needs: "any",
      ...flag({ hasBindMounts: root["hasbindmounts"] }, "hasBindMounts"),
      annotations: values.map((value) => ({ key: /(?:)/, value: pattern(value, "annotations") })),
      commands: list("cmds", "cmd").map((word) => pattern(word, "cmds")),
    },
    stages: stagesOf(list("stages", "stage")),
  };
}

function hookOf(raw: Record<string, unknown>): OciHook {
  const { timeout } = raw;
  if (timeout !== undefined && !(Number.isInteger(timeout) && Number(timeout) > 0)) {
    throw new InvalidArgumentError(`hook.timeout ${JSON.stringify(timeout)} is not a number of seconds above 0`);
  }
  return {
    path: absolute(raw["path"], "hook.path"),
    ...(raw["args"] === undefined ? {} : { args: strings(raw["args"], "hook.args") }),
    ...(raw["env"] === undefined ? {} : { env: strings(raw["env"], "hook.env") }),
    ...(timeout === undefined ? {} : { timeout: Number(timeout) }),
  };
}

function stagesOf(names: readonly string[]): HookStage[] {
  if (names.length === 0) throw new InvalidArgumentError("stages is empty");
  return names.map((name) => {
    const stage = HOOK_STAGES.find((one) => one === name);
    if (stage !== undefined) return stage;
    throw new InvalidArgumentError(`stage ${JSON.stringify(name)} is none of ${HOOK_STAGES.join(", ")}`);
  });
}

/** Files are written for Go's expressions, where flags may stand in front: `(?i)`. */
function pattern(text: unknown, field: string): RegExp {
  if (typeof text !== "string") throw new InvalidArgumentError(`${field} has a value that is no string`);
  const [, flags = "", rest = ""] = /^(?:\(\?([ims]+)\))?([^]*)$/.exec(text) ?? [];
  try {
    return new RegExp(rest, flags);
  } catch (error) {
    throw new InvalidArgumentError(`${field}: ${JSON.stringify(text)} is no regular expression`, { cause: error });
  }
}

function flag<K extends string>(from: Record<string, unknown>, key: K): { [N in K]?: boolean } {
  const value = from[key];
  if (value === undefined) return {};
  if (typeof value !== "boolean") throw new InvalidArgumentError(`${key} is neither true nor false`);
  return { [key]: value } as { [N in K]?: boolean };
}

function absolute(value: unknown, field: string): string {
  if (typeof value === "string" && value.startsWith("/")) return value;
  throw new InvalidArgumentError(`${field} is not an absolute path`);
}

function strings(value: unknown, field: string): string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new InvalidArgumentError(`${field} is not a list of strings`);
}

function object(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InvalidArgumentError(`${field} is not an object`);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError("the file is not JSON", { cause: error });
  }
}
