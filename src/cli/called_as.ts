const STATUS = "crio-status";

/**
 * Whether the program was started as `crio-status`, by a link of that name. The portable form is a shell script, which
 * tells by a variable; it is taken away so that no child is asked again.
 */
export function calledAsStatus(): boolean {
  if (nameOf(Deno.env.get("CRIO_CALLED_AS") ?? "") === STATUS) {
    Deno.env.delete("CRIO_CALLED_AS");
    return true;
  }
  return nameOf(firstArgument()) === STATUS;
}

/** Deno keeps argv[0] to itself. */
function firstArgument(): string {
  try {
    return Deno.readTextFileSync("/proc/self/cmdline").split("\0", 1)[0] ?? "";
  } catch {
    return ""; // no /proc: nothing that crio needs would work, and it will say so
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
