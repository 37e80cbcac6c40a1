/** The completion scripts of `crio completion`, each in its shell. */
import { deepEqual, equal, match, ok } from "node:assert/strict";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const decoder = new TextDecoder();

async function run(argv: readonly string[], stdin = ""): Promise<{ code: number; out: string; err: string }> {
  const [program = "", ...args] = argv;
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

async function script(shell: string): Promise<string> {
  const { code, out, err } = await run([Deno.execPath(), "run", "-A", MAIN, "completion", shell]);
  equal(code, 0, err);
  return out;
}

/** Completes lines in one bash with readline's own splitting of words; gives the offers of each. */
async function inBash(lines: readonly string[], cwd: string): Promise<string[][]> {
  const source = `${await script("bash")}
cd '${cwd}'
offer() {
  local line=$1
  # readline breaks words at = as well.
  read -ra COMP_WORDS <<< "\${line//=/ = }"
  [[ $line == *[\\ =] ]] && COMP_WORDS+=("")
  COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=\${#line}
  local spec
  spec=$(complete -p "\${COMP_WORDS[0]}")
  local function=\${spec#*-F }
  COMPREPLY=()
  "\${function%% *}"
  printf '%s ' "\${COMPREPLY[@]}"
  echo
}
${lines.map((line) => `offer '${line}'`).join("\n")}
`;
  const { code, out, err } = await run(["/bin/bash", "--norc", "-u"], source);
  deepEqual([code, err], [0, ""]);
  return out.split("\n").slice(0, lines.length).map((line) => line.split(" ").filter(Boolean));
}

Deno.test("bash completes commands, flags and values", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-completion-" });
  await Deno.writeTextFile(`${directory}/my.conf`, "");
  const cases: ReadonlyArray<readonly [line: string, offers: readonly string[]]> = [
    ["crio ch", ["check"]],
    ["crio check --re", ["--repair"]],
    ["crio --log-level war", ["warn"]],
    ["crio --log-level=de", ["debug"]],
    ["crio -l debug --cgroup-manager ", ["systemd", "cgroupfs"]],
    ["crio --config my", ["my.conf"]],
    ["crio --config=my", ["my.conf"]],
    ["crio --config check wi", ["wipe"]],
    ["crio --config=check wi", ["wipe"]],
    ["crio --selinux wi", ["wipe"]],
    ["crio completion ", ["bash", "zsh", "fish"]],
    ["crio status pul", ["pulls"]],
    ["crio status --socket /x pulls --fo", ["--follow"]],
    ["crio status cs --i", ["--id"]],
    ["crio-status pul", ["pulls"]],
    ["crio-status pulls --js", ["--json"]],
    ["crio man crio-", ["crio-status"]],
    ["crio --registries-c", []],
  ];
  const offers = await inBash(cases.map(([line]) => line), directory);
  for (const [index, [line, expected]] of cases.entries()) deepEqual(offers[index], expected, line);
  const [all = []] = await inBash(["crio --"], directory);
  ok(all.length >= 130, `${all.length} flags`);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("fish completes commands, flags and values", { ignore: !await isThere("/usr/bin/fish") }, async () => {
  const source = await script("fish");
  const offers = async (line: string): Promise<string[]> => {
    const { code, out, err } = await run(
      ["/usr/bin/fish", "--no-config"],
      `${source}\ncomplete --do-complete '${line}'\n`,
    );
    deepEqual([code, err], [0, ""]);
    return out.split("\n").map((one) => one.split("\t")[0] ?? "").filter(Boolean);
  };
  deepEqual(await offers("crio ch"), ["check"]);
  deepEqual(await offers("crio check --rep"), ["--repair"]);
  deepEqual(await offers("crio --log-format "), ["json", "text"]);
  deepEqual(await offers("crio status pul"), ["pulls"]);
  deepEqual(await offers("crio-status pul"), ["pulls"]);
});

Deno.test("zsh reads its script, and offers the commands", { ignore: !await isThere("/usr/bin/zsh") }, async () => {
  const source = await script("zsh");
  const directory = await Deno.makeTempDir({ prefix: "crio-zsh-" });
  await Deno.writeTextFile(`${directory}/_crio`, source);
  // A shell in a shell: what the completer offers is read from its screen.
  const driver = `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; fpath=(${directory} \\$fpath); autoload -Uz compinit; compinit -u -d ${directory}/dump; echo rea''dy"
zpty -r z line '*ready*'
zpty -n -w z $'crio status pul\\t'
zpty -r z line '*pulls*' && print -r -- "$line"
zpty -n -w z $'\\C-ucrio --log-for\\tj\\t'
zpty -r z line '*json*' && print -r -- "$line"
zpty -d z
`;
  const { code, out } = await run(["/usr/bin/timeout", "60", "/usr/bin/zsh", "-f"], driver);
  await Deno.remove(directory, { recursive: true });
  equal(code, 0, out);
  match(out, /crio status pulls/);
  match(out, /--log-for.*json\n$/);
});

Deno.test("crio completion refuses a shell that it does not know", async () => {
  const { code, err } = await run([Deno.execPath(), "run", "-A", MAIN, "complete", "csh"]);
  equal(code, 2);
  match(err, /^crio: no completion for csh: there are bash, zsh, fish\n$/);
});

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
