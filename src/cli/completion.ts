import { print } from "./_output.ts";
import { parseFlags, UsageError } from "./flags.ts";
import { bashCompletion } from "./completion/bash.ts";
import { fishCompletion } from "./completion/fish.ts";
import { zshCompletion } from "./completion/zsh.ts";

const SHELLS: Readonly<Record<string, () => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** `crio completion [bash|zsh|fish]`, bash by default. @throws UsageError */
export function completionCommand(args: readonly string[]): number {
  const { rest: [shell = "bash", ...more] } = parseFlags(args, []);
  const script = SHELLS[shell];
  if (script === undefined || more.length > 0) {
    throw new UsageError(
      `no completion for ${[shell, ...more].join(" ")}: there are ${Object.keys(SHELLS).join(", ")}`,
    );
  }
  print(script());
  return 0;
}
