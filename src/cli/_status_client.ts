import { InternalError, messageOf, UnavailableError } from "../base/errors.ts";

/** The answer to a GET on the daemon's socket. @throws UnavailableError without a daemon; InternalError for a refusal */
export async function get(socket: string, path: string): Promise<string> {
  using answer = await ask(socket, path);
  return await answer.response.text();
}

/** The answer to a POST without a body. @throws as {@link get} */
export async function post(socket: string, path: string): Promise<string> {
  using answer = await ask(socket, path, { method: "POST" });
  return await answer.response.text();
}

/** The data of each event of a stream, until the daemon ends it. @throws as {@link get} */
export async function* events(socket: string, path: string): AsyncGenerator<string> {
  using answer = await ask(socket, path, { headers: { accept: "text/event-stream" } });
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

async function ask(
  socket: string,
  path: string,
  init: { readonly method?: string; readonly headers?: Record<string, string> } = {},
): Promise<Disposable & { readonly response: Response }> {
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  try {
    const response = await fetch(`http://crio${path}`, { client, ...init });
    if (!response.ok) {
      throw new InternalError(`the daemon answered ${response.status}: ${(await response.text()).trim()}`);
    }
    return { response, [Symbol.dispose]: (): void => client.close() };
  } catch (error) {
    client.close();
    if (error instanceof InternalError) throw error;
    const hint = "is the daemon running, and may this user reach its socket?";
    throw new UnavailableError(`no answer on ${socket}: ${reason(error)}; ${hint}`, { cause: error });
  }
}

/** The innermost message: fetch wraps what the operating system said. */
function reason(error: unknown): string {
  let current = error;
  while (current instanceof Error && current.cause !== undefined) current = current.cause;
  return messageOf(current);
}
