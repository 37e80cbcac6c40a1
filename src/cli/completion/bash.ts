import { dashed, namesOf, type Node, nodes, offered } from "./tree.ts";

/** A completion script for bash; needs nothing but bash 4. `crio-status` completes as `crio status`. */
export function bashCompletion(): string {
  const all = nodes();
  return `# bash completion for crio; made by \`crio completion bash\`

_crio_complete() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev="" place=$1 index word
  # bash takes = for a word of its own: --flag=value is three.
  [[ $cur == "=" ]] && cur=""
  ((COMP_CWORD > 0)) && prev=\${COMP_WORDS[COMP_CWORD - 1]}
  [[ $prev == "=" ]] && ((COMP_CWORD > 1)) && prev=\${COMP_WORDS[COMP_CWORD - 2]}
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ $word == "=" ]]; then
      ((index++))
      continue
    fi
    case "$place:$word" in
${all.flatMap(valueCases).join("\n")}
    esac
    case "$place:$word" in
${all.flatMap(placeCases).join("\n")}
    esac
  done
  case "$place:$prev" in
${all.flatMap(offerCases).join("\n")}
  esac
  case "$place" in
${all.map(nodeCase).join("\n")}
  esac
}

_crio() {
  COMPREPLY=()
  _crio_complete top
}

_crio_status() {
  COMPREPLY=()
  _crio_complete status
}

complete -F _crio crio
complete -F _crio_status crio-status
`;
}

function placeOf(path: readonly string[]): string {
  return path.length === 0 ? "top" : path.join("/");
}

/** Flags whose value is the next word, which is skipped unless it is attached. */
function valueCases({ path, flags }: Node): string[] {
  const names = flags.filter(({ boolean }) => !boolean).flatMap(dashed).map((name) => `${placeOf(path)}:${name}`);
  if (names.length === 0) return [];
  return [
    `      ${names.join(" | ")})`,
    '        [[ ${COMP_WORDS[index + 1]} == "=" ]] && ((index++))',
    "        ((index++))",
    "        continue",
    "        ;;",
  ];
}

function placeCases({ path, commands }: Node): string[] {
  return commands.map((command) => {
    const names = namesOf(command).map((name) => `${placeOf(path)}:${name}`);
    return `      ${names.join(" | ")}) place=${placeOf([...path, command.name])} ;;`;
  });
}

/** Values of the flag in front of the cursor. */
function offerCases({ path, flags }: Node): string[] {
  return flags.filter(({ boolean }) => !boolean).map((flag) => {
    const names = dashed(flag).map((name) => `${placeOf(path)}:${name}`).join(" | ");
    const words = offered(flag);
    const reply = words === undefined ? 'compgen -f -- "$cur"' : `compgen -W "${words.join(" ")}" -- "$cur"`;
    const file = words === undefined ? "compopt -o filenames 2> /dev/null; " : "";
    return `    ${names}) ${file}mapfile -t COMPREPLY < <(${reply}) && return ;;`;
  });
}

function nodeCase({ path, flags, commands, words }: Node): string {
  const names = flags.flatMap(dashed).join(" ");
  const next = [...commands.map(({ name }) => name), ...words].join(" ");
  return `    ${placeOf(path)})
      if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${names}" -- "$cur")
      else
        mapfile -t COMPREPLY < <(compgen -W "${next}" -- "$cur")
      fi
      ;;`;
}
