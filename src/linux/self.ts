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
