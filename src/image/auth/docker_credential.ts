/** Programs that keep credentials: the `docker-credential-*` protocol. */
import { FailedPreconditionError, messageOf, UnavailableError } from "../../base/errors.ts";
import { type CommandResult, commandResult, DEFAULT_PATH } from "../../linux/command.ts";
import type { Credentials } from "./credentials.ts";

export interface HelperOptions {
  /** What the helper gets: its PATH, HOME, and what its cloud needs. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
  /** Default 15 s: some ask a service of their cloud first. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
/** What helpers say on stdout, with an exit code, where they have nothing. */
const NOT_FOUND = /credentials not found in native keychain|no credentials server URL|no credentials username/;
/** The user name that marks the secret as an identity token. */
const TOKEN_USER = "<token>";

/**
 * Asks `docker-credential-<helper> get` for a server's credentials.
 *
 * @returns undefined when the helper has none
 * @throws FailedPreconditionError when it is not installed or answers nonsense; UnavailableError when it fails or hangs;
 *   its output is never repeated, except a failure's own words
 */
export async function askHelper(
  helper: string,
  server: string,
  options: HelperOptions,
): Promise<Credentials | undefined> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  const what = `credential helper docker-credential-${helper} for ${server}`;
  if (!NAME.test(helper)) {
    throw new FailedPreconditionError(`credential helper ${JSON.stringify(helper)} is not the end of a program's name`);
  }
  const env = Object.fromEntries(
    Object.entries({ PATH: DEFAULT_PATH, ...options.environment }).filter((pair): pair is [string, string] =>
      pair[1] !== undefined
    ),
  );
  const program = await findProgram(`docker-credential-${helper}`, env["PATH"] ?? "");
  if (program === undefined) {
    throw new FailedPreconditionError(`${what} is not installed: there is no such program in ${env["PATH"]}`);
  }
  const limit = AbortSignal.timeout(timeoutMs);
  let result: CommandResult;
  try {
    const both = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    result = await commandResult([program, "get"], {
      env,
      stdin: `${server}\n`,
      maxOutputBytes: MAX_OUTPUT_BYTES,
      signal: both,
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (limit.aborted) throw new UnavailableError(`${what} gave no answer for ${timeoutMs / 1000} s`);
    throw new UnavailableError(`${what} cannot be run: ${messageOf(error)}`, { cause: error });
  }
  return answer(result, what);
}

function answer(result: CommandResult, what: string): Credentials | undefined {
  const out = new TextDecoder().decode(result.stdout).trim();
  if (result.exitCode !== 0) {
    if (NOT_FOUND.test(out)) return undefined;
    const end = result.signal === undefined ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
    // Helpers explain on stdout; where that is a document, it may hold a secret.
    const words = out.startsWith("{") ? "" : firstLine(out || new TextDecoder().decode(result.stderr).trim());
    throw new UnavailableError(`${what} failed with ${end}${words === "" ? "" : `: ${words}`}`);
  }
  let document: unknown;
  try {
    document = JSON.parse(out);
  } catch {
    document = undefined;
  }
  const { Username: username, Secret: secret } = Object(document) as Record<string, unknown>;
  if (typeof username !== "string" || typeof secret !== "string") {
    throw new FailedPreconditionError(`${what} did not answer with a user name and a secret`);
  }
  if (secret === "") return undefined;
  return username === TOKEN_USER
    ? { kind: "identityToken", token: secret }
    : { kind: "basic", username, password: secret };
}

function firstLine(text: string): string {
  return (text.split("\n")[0] ?? "").replace(/[^\x20-\x7e]/g, " ").slice(0, 200);
}

async function findProgram(name: string, path: string): Promise<string | undefined> {
  for (const directory of path.split(":")) {
    if (!directory.startsWith("/")) continue;
    const candidate = `${directory}/${name}`;
    try {
      const { isFile, mode } = await Deno.stat(candidate);
      if (isFile && ((mode ?? 0) & 0o111) !== 0) return candidate;
    } catch {
      // Not here, or not for us: the next directory may have it.
    }
  }
  return undefined;
}
