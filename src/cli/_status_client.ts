import { DeadlineError, InternalError, messageOf, UnavailableError } from "../base/errors.ts";

/** Where the daemon is, and how long it may take to answer. */
export interface Daemon {
  readonly socket: string;
  readonly timeoutMs: number;
}

/**
 * The answer to a GET on the daemon's socket.
 *
 * @throws UnavailableError without a daemon; InternalError for a refusal; DeadlineError
 */
export async function get(daemon: Daemon, path: string): Promise<string> {
  using answer = await ask(daemon, path);
  try {
    return await answer.response.text();
  } catch (error) {
    throw translated(error, daemon, path);
  }
}

/** The answer to a POST without a body. Throws as {@link get}. */
export async function post(daemon: Daemon, path: string): Promise<string> {
  using answer = await ask(daemon, path, { method: "POST" });
  return await answer.response.text();
}

/** The bytes of an answer, for what is too large to be held; the target is made once they come. Throws as {@link get}. */
export async function download(
  daemon: Daemon,
  path: string,
  target: () => Promise<WritableStream<Uint8Array>>,
): Promise<void> {
  using answer = await ask(daemon, path);
  await answer.response.body?.pipeTo(await target());
}

/** The data of each event of a stream, until the daemon ends it. Only the first answer is waited for. Throws as {@link get}. */
export async function* events(daemon: Daemon, path: string): AsyncGenerator<string> {
  using answer = await ask(daemon, path, { headers: { accept: "text/event-stream" } });
  answer.stopWaiting();
  const { body } = answer.response;
  if (body === null) return;
  let pending = "";
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (pending + piece).split("\n\n");
    pending = blocks.pop() ?? "";
    const data = blocks.flatMap((block) => block.split("\n")).filter((line) => line.startsWith("data: "));
    for (const line of data) yield line.slice("data: ".length);
  }
}

interface Answer extends Disposable {
  readonly response: Response;
  /** The rest may take as long as it likes. */
  stopWaiting(): void;
}

async function ask(
  daemon: Daemon,
  path: string,
  init: { readonly method?: string; readonly headers?: Record<string, string> } = {},
): Promise<Answer> {
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: daemon.socket } });
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException("", "TimeoutError")), daemon.timeoutMs);
  const stopWaiting = (): void => clearTimeout(timer);
  const close = (): void => {
    stopWaiting();
    client.close();
  };
  try {
    const response = await fetch(`http://crio${path}`, { client, ...init, signal: controller.signal });
    if (!response.ok) {
      throw new InternalError(`the daemon answered ${response.status}: ${(await response.text()).trim()}`);
    }
    return { response, stopWaiting, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw translated(error, daemon, path);
  }
}

function translated(error: unknown, { socket, timeoutMs }: Daemon, path: string): Error {
  if (error instanceof InternalError) return error;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new DeadlineError(
      `GET ${path} on ${socket}`,
      "waiting for the daemon; --timeout gives it longer",
      timeoutMs,
      {
        cause: error,
      },
    );
  }
  const hint = "is the daemon running, and may this user reach its socket?";
  return new UnavailableError(`no answer on ${socket}: ${reason(error)}; ${hint}`, { cause: error });
}

/** The innermost message: fetch wraps what the operating system said. */
function reason(error: unknown): string {
  let current = error;
  while (current instanceof Error && current.cause !== undefined) current = current.cause;
  return messageOf(current);
}
