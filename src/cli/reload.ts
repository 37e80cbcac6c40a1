import type { ReloadReport } from "../config/live.ts";
import { print } from "./_output.ts";
import { post } from "./_status_client.ts";
import { flagsOf } from "./commands.ts";
import { lastValue, parseFlags, UsageError } from "./flags.ts";

const DEFAULT_SOCKET = "/var/run/crio/crio.sock";
/** A daemon that is busy finishes what it does first. */
const LIMIT_MS = 60_000;

/** `crio reload`: has the running daemon read its configuration anew, waits, and tells what came of it. Gives the exit code. */
export async function reloadCommand(args: readonly string[]): Promise<number> {
  const parsed = parseFlags(args, flagsOf("reload"));
  if (parsed.rest.length > 0) throw new UsageError(`reload takes no argument, got ${parsed.rest.join(" ")}`);
  const socket = lastValue(parsed, "socket") ?? DEFAULT_SOCKET;
  const answer = await post({ socket, timeoutMs: LIMIT_MS }, "/reload");
  print(textOf(JSON.parse(answer)));
  return 0;
}

function textOf({ applied, pending, warnings }: ReloadReport): string {
  const lines = [
    ...warnings.map((text) => `warning: ${text}`),
    ...applied.map(({ path, before, after }) =>
      `changed: ${path}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`
    ),
    ...pending.map(({ path, before, after }) =>
      `needs a restart: ${path}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`
    ),
  ];
  const summary = applied.length === 0
    ? "reloaded; nothing has changed"
    : `reloaded; ${applied.length} options changed`;
  return [...lines, summary].join("\n") + "\n";
}
