/**
 * What every `<runtime> exec` has in common: its files, its end, its errors.
 *
 * @module
 */
import { ociJson } from "../spec/json.ts";
import { identify, killTree, readProcess } from "../../linux/process.ts";
import type { Child, ExitStatus } from "../../linux/spawn.ts";
import { RuntimeError } from "./errors.ts";
import type { ExecFiles } from "./runtime.ts";

const SIGKILL = 9;
let serial = 0;

/** A runtime program, ready to be called. */
export interface Program {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  argumentsFor(files: ExecFiles): string[];
}

/** Kills the process in the container with all below it, then the runtime. */
export function killExec(child: Child, files: ExecFiles): void {
  const pid = readPid(files.pidFile);
  const inside = pid === undefined ? undefined : identify(pid);
  // The file's word counts only for a child of the runtime that we started: pids are used again.
  if (inside !== undefined && readProcess(inside.pid)?.parentPid === child.pid) killTree(inside);
  const runtime = identify(child.pid);
  if (runtime !== undefined) killTree(runtime);
  child.kill(SIGKILL);
}

/** Files of one exec; disposing removes them. */
export interface Files extends ExecFiles, Disposable {}

/** tmpfs, two small files: some 50 us, where going through the thread pool takes several times as long. */
export function writeFiles({ directory, processSpec }: { directory: string; processSpec: object }): Files {
  const base = `${directory}/exec-${Deno.pid}-${serial++}`;
  const files = { processFile: `${base}.json`, pidFile: `${base}.pid` };
  Deno.writeTextFileSync(files.processFile, ociJson(processSpec), { mode: 0o600 });
  return {
    ...files,
    [Symbol.dispose]: (): void => {
      removeFile(files.processFile);
      removeFile(files.pidFile);
    },
  };
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What the runtime wrote into a pid file; undefined when it has not. */
export function readPid(path: string): number | undefined {
  try {
    const pid = Number(Deno.readTextFileSync(path).trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Why an exec did not begin. */
export function execFailure(
  program: Program,
  id: string,
  result: { readonly ended: ExitStatus; readonly stderr: Uint8Array },
): RuntimeError {
  const { ended } = result;
  const ending = ended.signal === undefined ? `exit code ${ended.exitCode}` : `ended by signal ${ended.signal}`;
  const stderr = new TextDecoder().decode(result.stderr);
  return new RuntimeError({ runtime: program.name, command: "exec", containerId: id, stderr, ending });
}
