/** The command tree as data: parsers, help, completions and manual pages come from it. */
import type { FlagSpec } from "./flags.ts";

/** One command, or a group of them. */
export interface CommandSpec {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** One line, without a full stop. */
  readonly summary: string;
  /** More of it, for the manual: one paragraph each. */
  readonly text?: readonly string[];
  /** What may stand behind it, besides flags. */
  readonly words?: readonly string[];
  readonly flags?: readonly FlagSpec[];
  readonly commands?: readonly CommandSpec[];
  /** Code and meaning of exits that only this command has. */
  readonly exits?: ReadonlyArray<readonly [number, string]>;
}

/** What every command may end with. */
export const EXIT_CODES: ReadonlyArray<readonly [string, string]> = [
  ["0", "done; for the daemon: it was told to stop and did"],
  ["1", "it failed; the reason is on standard error"],
  ["2", "the command line is wrong"],
  ["128+n", "the daemon was told a second time to stop, by signal n, while it was stopping"],
];

const JSON_FLAG: FlagSpec = { name: "json", aliases: ["j"], boolean: true, doc: "print JSON, for programs" };

const CHECK: CommandSpec = {
  name: "check",
  summary: "look for damage in the store of images and containers; with --host: for what this node lacks",
  text: [
    "Compares records, directories, names and, without --quick, the files of each layer with what they were unpacked from. " +
    "It runs beside a daemon and changes nothing, but for --repair.",
  ],
  flags: [
    {
      name: "host",
      boolean: true,
      doc: "tell what this node has and lacks, with the remedy; takes only --json beside it",
    },
    {
      name: "age",
      aliases: ["a"],
      boolean: false,
      value: "DURATION",
      doc: "report unused layers from this age on (default: 24h)",
    },
    { name: "quick", aliases: ["q"], boolean: true, doc: "read no files of layers" },
    { name: "repair", aliases: ["r"], boolean: true, doc: "remove damaged images and layers, and nothing else" },
    { name: "force", aliases: ["f"], boolean: true, doc: "with --repair: damaged containers too" },
    {
      name: "wipe",
      aliases: ["w"],
      boolean: true,
      doc: "with --repair, where that fails: remove everything below root",
    },
    JSON_FLAG,
  ],
  exits: [[1, "with --host: something is missing that pods need"], [3, "something is damaged or left over"]],
};

const WIPE: CommandSpec = {
  name: "wipe",
  summary: "remove pods, containers and images after a reboot or an upgrade",
  text: [
    "A reboot is a version_file that is missing, an upgrade a version_file_persist of another minor version. With internal_wipe, " +
    "the default, the daemon does all this when it starts, and the command does nothing. It refuses to work below a running " +
    "daemon and while pods run. Containers of podman are left alone.",
    "After a shutdown that was not clean the daemon repairs the store when it starts; with internal_repair = false this command " +
    "removes everything below the graph root instead, podman's containers too.",
  ],
  flags: [{ name: "force", aliases: ["f"], boolean: true, doc: "wipe without a reboot or an upgrade, and again" }],
};

const SOCKET_FLAG: FlagSpec = {
  name: "socket",
  aliases: ["s"],
  boolean: false,
  value: "PATH",
  doc: "the daemon's socket (default: /var/run/crio/crio.sock)",
};

/** What both forms of the manual take. */
const PAGES = {
  words: ["crio", "crio.conf", "crio.conf.d", "crio-status"],
  flags: [{
    name: "output",
    aliases: ["o"],
    boolean: false,
    value: "DIRECTORY",
    doc: "write all pages there instead",
  }],
} as const satisfies Partial<CommandSpec>;

const RELOAD: CommandSpec = {
  name: "reload",
  summary: "have a running daemon read its configuration anew, and print what changed",
  text: [
    "The daemon reads the files again below the flags and the environment that it was started with. Options marked reload in " +
    "crio.conf(5) count from the next pod or container on; what needs a restart is listed. When anything is wrong nothing is " +
    "changed, and the reason is printed. SIGHUP does the same, and the outcome is in the log.",
  ],
  flags: [SOCKET_FLAG],
};

const STATUS: CommandSpec = {
  name: "status",
  summary: "ask a running daemon",
  text: ["The same as crio-status(8)."],
  flags: [
    SOCKET_FLAG,
    {
      name: "timeout",
      aliases: ["t"],
      boolean: false,
      value: "DURATION",
      doc: "how long the daemon may take to answer (default: 10s)",
    },
    JSON_FLAG,
  ],
  commands: [
    { name: "info", aliases: ["i"], summary: "storage driver, roots, cgroup driver and default id mappings" },
    { name: "config", aliases: ["c"], summary: "the configuration as it counts, TOML" },
    { name: "archives", aliases: ["a"], summary: "image archives of the drop folder, with their images or errors" },
    { name: "pods", aliases: ["po"], summary: "all pods, with their addresses and how many containers run" },
    {
      name: "containers",
      aliases: ["container", "cs", "s"],
      summary: "all containers; with --id all of one, or of a pod",
      flags: [{ name: "id", aliases: ["i"], boolean: false, value: "ID", doc: "the id or the beginning of it" }],
    },
    { name: "images", aliases: ["im"], summary: "all images and artifacts: size, pinned, in use" },
    {
      name: "events",
      aliases: ["e"],
      summary: "a line for each change of a pod or container from now on, until the daemon stops",
    },
    {
      name: "pulls",
      aliases: ["p"],
      summary: "what is being pulled: drawn on a terminal until the last pull has ended",
      flags: [{
        name: "follow",
        aliases: ["f"],
        boolean: true,
        doc: "go on when no pull runs; not on a terminal: a line for each change",
      }],
    },
    {
      name: "top",
      summary: "CPU, memory and network of pods: drawn anew on a terminal until it is interrupted, else one round",
      flags: [
        {
          name: "interval",
          aliases: ["n"],
          boolean: false,
          value: "DURATION",
          doc: "time between two rounds, a second at least (default: 2s)",
        },
        {
          name: "sort",
          boolean: false,
          value: "COLUMN",
          words: ["cpu", "memory", "network", "name"],
          doc: "the largest first (default: cpu)",
        },
      ],
    },
    {
      name: "goroutines",
      aliases: ["g"],
      summary: "what the daemon is doing: running operations, open handles, memory; it has no goroutines",
    },
    {
      name: "heap",
      aliases: ["hp"],
      summary: "write a heap snapshot of the daemon, for Chromium's developer tools",
      text: [
        "Making it stops the daemon for some hundred milliseconds, and the file may hold credentials: it is readable by its owner only.",
      ],
      flags: [{
        name: "file",
        aliases: ["f"],
        boolean: false,
        value: "FILE",
        doc: "where it goes, - is standard output (default: crio-heap-TIME.heapsnapshot)",
      }],
    },
  ],
};

/** All commands, in the order of their names; `internal`, which the daemon starts of itself, is none of them. */
export const COMMANDS: readonly CommandSpec[] = [
  CHECK,
  {
    name: "completion",
    aliases: ["complete"],
    summary: "print the completion script of a shell",
    words: ["bash", "zsh", "fish"],
  },
  {
    name: "config",
    summary: "print the configuration as commented TOML: what differs from the defaults",
    flags: [{ name: "default", boolean: true, doc: "all options with their defaults, whatever is configured" }],
  },
  { name: "help", aliases: ["h"], summary: "print the help text" },
  {
    name: "man",
    summary: "print a manual page for man(1); without a name: crio(8)",
    ...PAGES,
  },
  {
    name: "markdown",
    aliases: ["md"],
    summary: "print a manual page as Markdown; without a name: crio(8)",
    ...PAGES,
  },
  RELOAD,
  STATUS,
  {
    name: "version",
    summary: "print version and build",
    flags: [JSON_FLAG, { name: "verbose", aliases: ["v"], boolean: true, doc: "what the program was made with, too" }],
  },
  WIPE,
];

/** A command by its path: `commandSpec("status", "pulls")`. @throws RangeError for one that is not in the tree */
export function commandSpec(...path: readonly string[]): CommandSpec {
  let commands: readonly CommandSpec[] | undefined = COMMANDS;
  let found: CommandSpec | undefined;
  for (const name of path) {
    found = commands?.find((one) => one.name === name || one.aliases?.includes(name));
    commands = found?.commands;
  }
  if (found === undefined) throw new RangeError(`no command ${path.join(" ")}`);
  return found;
}

/** The flags of a command. */
export function flagsOf(...path: readonly string[]): readonly FlagSpec[] {
  return commandSpec(...path).flags ?? [];
}
