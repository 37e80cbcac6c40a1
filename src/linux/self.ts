import { InvalidArgumentError } from "../base/errors.ts";

/** Holds a JSON array of strings: how the portable form starts itself. */
export const SELF_VARIABLE = "CRIO_SELF";

/**
 * The command that starts this program again, to which arguments are added: the compiled binary; `CRIO_SELF` of the
 * portable form; or Deno with the main module, when it runs from source.
 *
 * @throws InvalidArgumentError when `CRIO_SELF` is not a JSON array of strings that begins with an absolute path
 */
export function selfCommand(): readonly string[] {
  const text = Deno.env.get(SELF_VARIABLE);
  if (text !== undefined && text !== "") return parseSelf(text);
  if (Deno.build.standalone) return [Deno.execPath()];
  const main = Deno.mainModule;
  const script = main.startsWith("file://") ? decodeURIComponent(new URL(main).pathname) : main;
  return [Deno.execPath(), "run", "--allow-all", "--no-check", script];
}

/** The memory flags of the daemon, with which the portable form starts it: see `scripts/build`. */
const ENGINE_FLAGS = "--v8-flags=";
/** A young generation that suits a burst of work: less collecting, 25 MB more while it lasts. */
const BURST_FLAGS = `${ENGINE_FLAGS}--max-semi-space-size=16`;

/** {@link selfCommand} for a process that works hard and leaves soon, instead of staying small for weeks. */
export function burstCommand(): readonly string[] {
  return selfCommand().map((argument) => argument.startsWith(ENGINE_FLAGS) ? BURST_FLAGS : argument);
}

function parseSelf(text: string): readonly string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (Array.isArray(value) && value.every((item) => typeof item === "string") && value[0]?.startsWith("/")) {
    return value;
  }
  throw new InvalidArgumentError(`${SELF_VARIABLE} is not a JSON array that begins with an absolute path`);
}
