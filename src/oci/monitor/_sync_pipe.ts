import { InternalError } from "../../base/errors.ts";
import { type OwnedFd, readableOf } from "../../linux/pipe.ts";

/** What conmon tells through its sync pipe: the container's pid, or -1 and why. */
export interface MonitorAnswer {
  readonly pid: number;
  readonly message: string;
}

/** A line longer than this is not an answer. conmon cuts the runtime's message far below. */
const MAX_BYTES = 256 * 1024;

/**
 * Reads the first line of the pipe. conmon keeps its end open for its whole life, so the end of the pipe means that it
 * has died; then pid is -1 and the message empty.
 *
 * @throws the signal's reason; InternalError when the answer is not one
 */
export function readAnswer(pipe: OwnedFd, { signal }: { readonly signal: AbortSignal }): Promise<MonitorAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<MonitorAnswer>();
  const socket = readableOf(pipe);
  let text = "";
  const decoder = new TextDecoder();
  const finish = (): void => {
    const line = text.split("\n", 1)[0] ?? "";
    try {
      resolve(line === "" ? { pid: -1, message: "" } : parseAnswer(line));
    } catch (error) {
      reject(error);
    }
  };
  const onAbort = (): void => reject(signal.reason);
  socket.on("data", (chunk: Uint8Array) => {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes("\n") || text.length > MAX_BYTES) finish();
  });
  socket.on("error", finish);
  socket.on("end", finish);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return promise.finally(() => {
    signal.removeEventListener("abort", onAbort);
    socket.destroy();
  });
}

/**
 * Parses `{"pid": N}` or `{"pid": -1, "message": "…"}`.
 *
 * @throws InternalError when it is something else
 */
export function parseAnswer(line: string): MonitorAnswer {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new InternalError(`the monitor answered ${JSON.stringify(line.slice(0, 200))}, which is not JSON`, { cause });
  }
  const { pid, message, data } = typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  const number = pid ?? data;
  if (typeof number !== "number") {
    throw new InternalError(`the monitor answered ${JSON.stringify(line.slice(0, 200))}, which has no pid`);
  }
  return { pid: number, message: typeof message === "string" ? message : "" };
}
