import type { FlagSpec } from "../flags.ts";
import { namesOf, type Node, nodes, offered } from "./tree.ts";

/** A completion script for fish. */
export function fishCompletion(): string {
  return `# fish completion for crio; made by \`crio completion fish\`
complete -c crio -f
${nodes().flatMap(linesOf).join("\n")}
complete -c crio-status -w "crio status"
`;
}

function linesOf(node: Node): string[] {
  const where = condition(node);
  return [
    ...node.flags.map((flag) => `complete -c crio -n ${quoted(where)} ${flagOptions(flag)}`),
    ...node.commands.flatMap((command) =>
      namesOf(command).map((name) => `complete -c crio -n ${quoted(where)} -a ${name} -d ${quoted(command.summary)}`)
    ),
    ...node.words.map((word) => `complete -c crio -n ${quoted(where)} -a ${word}`),
  ];
}

/** All words of the path were seen, and none of a command below. */
function condition({ path, commands }: Node): string {
  const seen = path.map((word) => `__fish_seen_subcommand_from ${names(path, word)}`);
  const next = commands.flatMap(namesOf);
  return [...seen, ...(next.length === 0 ? [] : [`not __fish_seen_subcommand_from ${next.join(" ")}`])].join("; and ");
}

function names(path: readonly string[], word: string): string {
  const all = nodes().find((node) => node.path.join("/") === path.slice(0, path.indexOf(word)).join("/"));
  const command = all?.commands.find(({ name }) => name === word);
  return command === undefined ? word : namesOf(command).join(" ");
}

function flagOptions(flag: FlagSpec): string {
  const { name, aliases = [], boolean, doc = "" } = flag;
  const spelled = [name, ...aliases].map((one) => one.length === 1 ? `-s ${one}` : `-l ${one}`).join(" ");
  const words = offered(flag);
  const value = boolean ? "" : words === undefined ? " -r -F" : ` -x -a ${quoted(words.join(" "))}`;
  return `${spelled}${value} -d ${quoted(doc.split(/[(.;]/, 1)[0]?.trim() ?? "")}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
