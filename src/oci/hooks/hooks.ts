import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { OciHook } from "../spec/types.ts";
import { type HookConditions, type HookDefinition, type HookStage, parseHook } from "./definition.ts";

/** What decides which hooks a container gets. */
export interface HookSubject {
  readonly annotations: Readonly<Record<string, string>>;
  /** The command line. */
  readonly args: readonly string[];
  /** Whether the request has volumes. */
  readonly hasBindMounts: boolean;
}

/** The part of a container's specification with its hooks; in order within each stage. */
export type HooksByStage = { readonly [S in HookStage]?: readonly OciHook[] };

interface Known {
  /** Changes whenever the file does. */
  readonly mark: string;
  /** Absent: the file is no valid definition. */
  readonly definition: HookDefinition | undefined;
}

/**
 * The hooks of the node, oci-hooks(5). The directories are looked at for each container, so that a change counts from the
 * next one on, without a watch that could miss it; only files that have changed are read again.
 */
export class OciHooks {
  #known = new Map<string, Known>();

  /** @param source.hooksDir directories; a file of a later one takes the place of one with the same name in an earlier one */
  constructor(private readonly source: { readonly hooksDir: readonly string[] }, private readonly log: Logger) {}

  /** The hooks for a container; files that are no valid definitions are left out, with one message for each change. */
  async select(subject: HookSubject): Promise<HooksByStage> {
    const hooks: { [S in HookStage]?: OciHook[] } = {};
    for (const { hook, when, stages } of await this.#definitions()) {
      if (!matches(when, subject)) continue;
      for (const stage of stages) (hooks[stage] ??= []).push(hook);
    }
    return hooks;
  }

  /** All definitions that count, by file name. */
  async #definitions(): Promise<HookDefinition[]> {
    const lists = await Promise.all(this.source.hooksDir.map(jsonFiles));
    const byName = new Map(lists.flat().map(({ name, path }) => [name, path]));
    const names = [...byName.keys()].sort((a, b) => a.toLowerCase() < b.toLowerCase() ? -1 : 1);
    const paths = names.map((name) => byName.get(name) ?? "");
    const known = await Promise.all(paths.map((path) => this.#read(path)));
    this.#known = new Map(paths.map((path, i) => [path, known[i] ?? { mark: "", definition: undefined }]));
    return known.map(({ definition }) => definition).filter((definition) => definition !== undefined);
  }

  async #read(path: string): Promise<Known> {
    const mark = await markOf(path);
    const before = this.#known.get(path);
    if (before?.mark === mark) return before;
    try {
      const definition = parseHook(await Deno.readTextFile(path));
      await Deno.stat(definition.hook.path);
      return { mark, definition };
    } catch (error) {
      if (mark !== "") this.log.error(`an OCI hook is left out: ${path}: ${messageOf(error)}`);
      return { mark, definition: undefined };
    }
  }
}

/** Whether a hook is for a container. A definition without any condition is for none. */
export function matches(when: HookConditions, { annotations, args, hasBindMounts }: HookSubject): boolean {
  const answers: boolean[] = [];
  if (when.always !== undefined) answers.push(when.always);
  if (when.hasBindMounts !== undefined) answers.push(when.hasBindMounts && hasBindMounts);
  for (const { key, value } of when.annotations) {
    answers.push(Object.entries(annotations).some(([name, text]) => key.test(name) && value.test(text)));
  }
  if (when.commands.length > 0) answers.push(when.commands.some((command) => command.test(args[0] ?? "")));
  return when.needs === "any"
    ? answers.some((answer) => answer)
    : answers.length > 0 && answers.every((answer) => answer);
}

async function jsonFiles(directory: string): Promise<Array<{ name: string; path: string }>> {
  const files: Array<{ name: string; path: string }> = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      if (name.endsWith(".json") && !isDirectory) files.push({ name, path: `${directory}/${name}` });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return files;
}

/** Empty when the file is gone. */
async function markOf(path: string): Promise<string> {
  try {
    const { ino, size, mtime, ctime } = await Deno.stat(path);
    return [ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
  } catch {
    return "";
  }
}
