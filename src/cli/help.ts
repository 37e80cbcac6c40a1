import { COMMANDS, type CommandSpec, EXIT_CODES } from "./commands.ts";
import { type FlagSpec, spellings } from "./flags.ts";
import { globalFlags } from "./global_flags.ts";

const WIDTH = 110;
const COMMAND_INDENT = 34;

/** The text of `crio --help`, made from the command tree and the schema. */
export function helpText(): string {
  const flags = globalFlags().filter(({ hidden }) => hidden !== true);
  const exits = COMMANDS.flatMap(({ name, exits = [] }) =>
    exits.map(([code, meaning]) => [String(code), `${name}: ${meaning}`] as const)
  );
  return `crio - Kubernetes container runtime (CRI v1)

USAGE:
   crio [global options] [command [command options]]

   Without a command the daemon runs in the foreground. The manual: crio man | man -l -

COMMANDS:
${COMMANDS.flatMap(commandLines).join("\n")}

EXIT CODES:
${[...EXIT_CODES, ...exits].map(([code, meaning]) => `   ${code.padEnd(6)} ${meaning}`).join("\n")}

GLOBAL OPTIONS:
${flags.map(flagText).join("")}`;
}

/** The text of `crio COMMAND --help`. */
export function commandHelp(command: CommandSpec, path = command.name): string {
  const { flags = [], commands = [], text = [] } = command;
  const usage = `${path}${flags.length === 0 ? "" : " [options]"}${wordsText(command)}`;
  return [
    `crio ${path} - ${command.summary}\n\nUSAGE:\n   crio ${usage}\n`,
    ...text.map((paragraph) => `\n${wrapped(paragraph, 3).join("\n")}\n`),
    ...(commands.length === 0 ? [] : [`\nCOMMANDS:\n${commands.flatMap(commandLines).join("\n")}\n`]),
    ...(flags.length === 0 ? [] : [`\nOPTIONS:\n${flags.map(flagText).join("")}`]),
  ].join("");
}

function wordsText({ commands, words }: CommandSpec): string {
  if (commands !== undefined) return " COMMAND";
  return words === undefined ? "" : ` [${words.join("|")}]`;
}

function commandLines(command: CommandSpec): string[] {
  const { name, aliases = [], summary } = command;
  const left = `   ${[name, ...aliases].join(", ")}`;
  const [first = "", ...rest] = wrapped(summary, COMMAND_INDENT);
  if (left.length >= COMMAND_INDENT) return [left, first, ...rest];
  return [left.padEnd(COMMAND_INDENT) + first.trimStart(), ...rest];
}

function flagText(flag: FlagSpec): string {
  return `   ${spellings(flag).join(", ")}\n${wrapped(flag.doc ?? "", 9).join("\n")}\n`;
}

function wrapped(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && indent + line.length + word.length + 1 > WIDTH) {
      lines.push(" ".repeat(indent) + line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, " ".repeat(indent) + line];
}

/** Help on the deepest command that the words name; undefined when they name none. */
export function helpOn(words: readonly string[]): string | undefined {
  let commands: readonly CommandSpec[] = COMMANDS;
  let found: CommandSpec | undefined;
  const path: string[] = [];
  for (const word of words) {
    const next = commands.find(({ name, aliases = [] }) => name === word || aliases.includes(word));
    if (next === undefined) continue;
    found = next;
    path.push(next.name);
    commands = next.commands ?? [];
  }
  return found === undefined ? undefined : commandHelp(found, path.join(" "));
}
