import { FailedPreconditionError, InvalidArgumentError } from "../base/errors.ts";
import { parseOciJson } from "../oci/spec/json.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ExecResult } from "./ports.ts";
import type { ContainerRecord } from "./types.ts";

/** What a process in a container takes from the container's own. */
export interface ProcessTemplate {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly consoleSize?: unknown;
}

/**
 * Runs a command in a running container and waits for it.
 *
 * @param request.timeoutMs 0: no limit
 * @throws FailedPreconditionError unless the container runs
 */
export async function execSync(
  deps: ContainerDeps,
  record: ContainerRecord,
  request: { command: readonly string[]; timeoutMs: number; signal: AbortSignal },
): Promise<ExecResult> {
  if (request.command.length === 0) throw new InvalidArgumentError("exec: command is empty");
  checkRunning(record);
  const process = await processTemplate(record, request.command);
  return await deps.runtimes.find(record.runtimeHandler).execSync(
    record.id,
    { process, timeoutMs: request.timeoutMs },
    { signal: request.signal },
  );
}

/** @throws FailedPreconditionError unless the container runs */
export function checkRunning(record: ContainerRecord): void {
  if (record.state === "running") return;
  throw new FailedPreconditionError(`exec: container ${record.id} is ${record.state}, not running`);
}

/** The container's own process settings with another command, as an OCI `process` object. */
export async function processTemplate(
  record: ContainerRecord,
  command: readonly string[],
  options: { terminal?: boolean } = {},
): Promise<ProcessTemplate> {
  const bundle = parseOciJson(await Deno.readTextFile(`${record.runDirectory}/config.json`)) as {
    process: ProcessTemplate;
  };
  const { consoleSize: _size, ...process } = bundle.process;
  return { ...process, args: command, terminal: options.terminal ?? false };
}
