import { messageOf } from "../base/errors.ts";
import { print, printError } from "./_output.ts";
import { UsageError } from "./flags.ts";

/**
 * Exit codes of every command.
 *
 * - 0: done; for the daemon: it was told to stop and did
 * - 1: it failed; the reason is on standard error
 * - 2: the command line is wrong
 * - 128 + n: the daemon was told a second time to stop, by signal n, while it was stopping
 */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/**
 * Runs the program. Each command is imported when it is asked for, so that `crio version` and the pull process load
 * neither the daemon nor the configuration.
 *
 * @returns the exit code
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args);
  } catch (error) {
    printError(`crio: ${messageOf(error)}\n`);
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

function asksForHelp(word: string): boolean {
  return word === "--help" || word === "-help" || word === "-h";
}

function shown(text: string): number {
  print(text);
  return EXIT.ok;
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [command = "", ...rest] = args;
  if (!command.startsWith("-") && command !== "internal" && rest.some(asksForHelp)) {
    const text = (await import("./help.ts")).helpOn(args);
    if (text !== undefined) return shown(text);
  }
  switch (command) {
    case "internal":
      return await (await import("./internal.ts")).internalCommand(rest);
    case "version":
      return (await import("./version.ts")).versionCommand(rest);
    case "reload":
      return await (await import("./reload.ts")).reloadCommand(rest);
    case "status":
      return await (await import("./status.ts")).statusCommand(rest);
    default:
      return await (await import("./global.ts")).globalCommand(args);
  }
}
