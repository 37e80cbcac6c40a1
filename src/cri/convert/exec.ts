import { InvalidArgumentError } from "../../base/errors.ts";
import type { AttachStreamRequest, ExecStreamRequest } from "../../streaming/handlers.ts";
import type { AttachRequest, ExecRequest, ExecSyncRequest, ExecSyncResponse } from "../gen/api.ts";
import type { CommandOutcome } from "../operations.ts";
import { clean } from "./_checks.ts";
import { requestId } from "./request_id.ts";
import { execTimeoutMs } from "./timeout.ts";

/** A command to run in a container, checked as far as that needs no state. */
export function execRequest(request: ExecSyncRequest): { id: string; command: string[]; timeoutMs: number } {
  const id = requestId(request.containerId, "container_id");
  if (request.cmd.length === 0) throw new InvalidArgumentError("cmd is empty");
  const command = request.cmd.map((word) => clean(word, "cmd"));
  return { id, command, timeoutMs: execTimeoutMs(request.timeout) };
}

/** A command to run with streams; which of them make sense is checked where they are served. */
export function execStreamRequest({ containerId, cmd, ...streams }: ExecRequest): ExecStreamRequest {
  const command = cmd.map((word) => clean(word, "cmd"));
  return { containerId: requestId(containerId, "container_id"), command, ...streams };
}

/** A wish to be connected to a container. */
export function attachStreamRequest({ containerId, ...streams }: AttachRequest): AttachStreamRequest {
  return { containerId: requestId(containerId, "container_id"), ...streams };
}

/** A command that ran out of time is an answer, not an error: so a probe fails, and is not merely unknown. */
export function execResponse(outcome: CommandOutcome): ExecSyncResponse {
  const { stdout, stderr, exitCode, timedOut } = outcome;
  if (timedOut) return { stdout, stderr: TIMED_OUT, exitCode: -1 };
  return { stdout, stderr, exitCode };
}

/** The words that CRI-O's clients know. */
const TIMED_OUT = new TextEncoder().encode("command timed out");
