import type { FlagSpec } from "../flags.ts";
import { dashed, namesOf, type Node, nodes, offered } from "./tree.ts";

/** A completion script for zsh, for a file `_crio` in `$fpath` or to be sourced. */
export function zshCompletion(): string {
  return `#compdef crio crio-status
# zsh completion for crio; made by \`crio completion zsh\`

${nodes().map(functionOf).join("\n")}
if [ "$funcstack[1]" = "_crio" ]; then
  if [[ $service == crio-status ]]; then
    _crio_status
  else
    _crio_top
  fi
else
  _crio() { [[ $service == crio-status ]] && _crio_status || _crio_top }
  compdef _crio crio crio-status
fi
`;
}

function functionName(path: readonly string[]): string {
  return `_crio_${path.length === 0 ? "top" : path.join("_")}`;
}

function functionOf({ path, flags, commands, words }: Node): string {
  const specs = flags.map(flagSpec);
  const next = commands.length > 0
    ? ["'1: :->command'", "'*:: :->rest'"]
    : words.length > 0
    ? [`'1:word:(${words.join(" ")})'`]
    : [];
  const lines = [...specs, ...next].map((spec) => ` \\\n    ${spec}`).join("");
  return `${functionName(path)}() {
  local state line context
  typeset -A opt_args
  _arguments -C -S${lines}${lines === "" ? "\n  :" : ""}
${commands.length === 0 ? "" : stateCases(path, commands)}}
`;
}

function stateCases(path: readonly string[], commands: Node["commands"]): string {
  const described = commands.map(({ name, summary }) => quoted(`${name}:${summary}`)).join(" ");
  const branches = commands.map((command) =>
    `        ${namesOf(command).join("|")}) ${functionName([...path, command.name])} ;;`
  );
  return `  case $state in
    command)
      local -a commands=(${described})
      _describe command commands
      ;;
    rest)
      case $line[1] in
${branches.join("\n")}
      esac
      ;;
  esac
`;
}

function flagSpec(flag: FlagSpec): string {
  const { boolean, doc = "" } = flag;
  const text = (doc.split(/[(.;]/, 1)[0] ?? "").trim().replace(/[[\]:\\]/g, "");
  const words = offered(flag);
  const value = boolean ? "" : `:value:${words === undefined ? "_files" : `(${words.join(" ")})`}`;
  // A value is a word of its own or attached, and a list may be given again.
  return dashed(flag).map((name) =>
    quoted(`*${name}${boolean ? "" : name.startsWith("--") ? "=" : "+"}[${text}]${value}`)
  )
    .join(" ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
