import { COMMANDS, type CommandSpec } from "../commands.ts";
import type { FlagSpec } from "../flags.ts";
import { globalFlags } from "../global_flags.ts";

/** A place in the command line: what may come next. */
export interface Node {
  /** Command words from the top, by their main names; empty at the top. */
  readonly path: readonly string[];
  readonly flags: readonly FlagSpec[];
  readonly commands: readonly CommandSpec[];
  /** Words that are no commands. */
  readonly words: readonly string[];
}

/** All places, the top first. A command's flags hold below it too. */
export function nodes(): readonly Node[] {
  const top: Node = { path: [], flags: visible(globalFlags()), commands: COMMANDS, words: [] };
  return [top, ...COMMANDS.flatMap((command) => below(command, { path: [], flags: [] }))];
}

function below(command: CommandSpec, parent: Pick<Node, "path" | "flags">): readonly Node[] {
  const node: Node = {
    path: [...parent.path, command.name],
    flags: visible([...parent.flags, ...command.flags ?? []]),
    commands: command.commands ?? [],
    words: command.words ?? [],
  };
  return [node, ...node.commands.flatMap((child) => below(child, node))];
}

function visible(flags: readonly FlagSpec[]): readonly FlagSpec[] {
  return flags.filter(({ hidden }) => hidden !== true);
}

/** Names of a flag with their dashes. */
export function dashed({ name, aliases = [] }: FlagSpec): readonly string[] {
  return [name, ...aliases].map((one) => one.length === 1 ? `-${one}` : `--${one}`);
}

/** Names of a command. */
export function namesOf({ name, aliases = [] }: CommandSpec): readonly string[] {
  return [name, ...aliases];
}

/** Values that a shell can offer, without the empty one; undefined: a file, as far as anybody knows. */
export function offered({ words }: FlagSpec): readonly string[] | undefined {
  return words?.filter((word) => word !== "");
}
