import { type ErrorKind, PodError } from "../../base/errors.ts";

/** Classes of failure that callers treat differently. */
export type RuntimeFailure =
  | "container_not_found"
  | "not_running"
  | "executable_not_found"
  | "hybrid_cgroups"
  | "oom_score_adj"
  | "not_permitted"
  | "no_space"
  | "other";

interface KnownFailure {
  readonly failure: RuntimeFailure;
  readonly pattern: RegExp;
  readonly remedy?: string;
}

/** What crun and runc say, most telling first. */
const KNOWN: readonly KnownFailure[] = [
  {
    failure: "hybrid_cgroups",
    pattern: /cgroups in hybrid mode not supported/,
    remedy: "this crun refuses a host with cgroup v1 and v2 controllers: use crun 1.9 or newer, or runc",
  },
  {
    failure: "oom_score_adj",
    pattern: /oom_score_adj|can't get final child's PID from pipe/,
    remedy: "the runtime's first process died in its set-up; most often oom_score_adj is below the daemon's own and " +
      "CAP_SYS_RESOURCE is missing",
  },
  {
    failure: "executable_not_found",
    pattern: /executable file .* not found|exec: .*(no such file or directory|permission denied|is a directory)/,
  },
  {
    failure: "container_not_found",
    pattern:
      /container .*does not exist|error opening file .*\/status.*No such file|cannot open directory .*No such file/,
  },
  {
    failure: "not_running",
    pattern:
      /container (is )?not running|cannot exec in a stopped|is not in .created. (or .stopped. )?state|is not in .?running|cannot start a container that has stopped|No such process|process already finished|the container .* is not running/,
  },
  {
    failure: "no_space",
    pattern: /no space left on device/i,
    remedy: "a disk, or the node's limit of cgroups, is full",
  },
  {
    failure: "not_permitted",
    pattern: /operation not permitted/i,
    remedy: "the daemon lacks a capability or privilege that this container needs",
  },
];

const KINDS: Readonly<Record<RuntimeFailure, ErrorKind>> = {
  container_not_found: "not_found",
  not_running: "failed_precondition",
  executable_not_found: "invalid_argument",
  hybrid_cgroups: "failed_precondition",
  oom_score_adj: "internal",
  not_permitted: "permission_denied",
  no_space: "resource_exhausted",
  other: "internal",
};

const TAIL_CHARS = 4096;

export interface RuntimeErrorFields {
  /** Name of the runtime handler's program, e.g. `crun`. */
  readonly runtime: string;
  /** The runtime's command, e.g. `create`. */
  readonly command: string;
  readonly containerId: string;
  /** What it wrote to stderr or its log, in any of the formats that runtimes use. */
  readonly stderr: string;
  /** How it ended, when stderr may be empty. */
  readonly ending?: string;
}

/** An OCI runtime refused or failed; says what it said, and what to do where that is known. */
export class RuntimeError extends PodError {
  override readonly kind: ErrorKind;
  readonly failure: RuntimeFailure;
  readonly runtime: string;
  readonly command: string;
  readonly containerId: string;
  /** The end of what the runtime wrote. */
  readonly stderrTail: string;

  constructor(fields: RuntimeErrorFields, options?: ErrorOptions) {
    const text = runtimeMessage(fields.stderr);
    const known = KNOWN.find(({ pattern }) => pattern.test(text));
    const said = text === "" ? fields.ending ?? "failed without a message" : text;
    const remedy = known?.remedy === undefined ? "" : ` (${known.remedy})`;
    super(`${fields.runtime} ${fields.command} of container ${fields.containerId}: ${said}${remedy}`, options);
    this.failure = known?.failure ?? "other";
    this.kind = KINDS[this.failure];
    this.runtime = fields.runtime;
    this.command = fields.command;
    this.containerId = fields.containerId;
    this.stderrTail = fields.stderr.slice(-TAIL_CHARS);
  }
}

/** Whether `thrown` is a runtime's failure of one of these classes. */
export function isRuntimeFailure(thrown: unknown, ...failures: readonly RuntimeFailure[]): thrown is RuntimeError {
  return thrown instanceof RuntimeError && failures.includes(thrown.failure);
}

/**
 * The messages of errors in a runtime's output: JSON lines, logrus text (`level=error msg="…"`) or plain lines, joined
 * by `; `. Lines of lower levels are left out.
 */
export function runtimeMessage(output: string): string {
  const messages: string[] = [];
  for (const line of output.slice(-TAIL_CHARS).split("\n")) {
    const message = lineMessage(line.trim());
    if (message !== "" && !messages.includes(message)) messages.push(message);
  }
  return messages.join("; ");
}

function lineMessage(line: string): string {
  if (line.startsWith("{")) {
    const parsed = parseJson(line);
    if (typeof parsed?.["msg"] === "string") return isError(parsed["level"]) ? parsed["msg"].trim() : "";
  }
  const text = /(?:^|\s)level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+)/.exec(line);
  if (text === null) return line;
  if (!isError(text[1])) return "";
  const quoted = text[2] ?? "";
  return quoted.startsWith('"') ? unquote(quoted) : quoted;
}

function isError(level: unknown): boolean {
  return level !== "warning" && level !== "info" && level !== "debug";
}

function unquote(text: string): string {
  return text.slice(1, -1).replace(/\\(.)/g, (_, char: string) => char === "n" ? " " : char).trim();
}

function parseJson(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
