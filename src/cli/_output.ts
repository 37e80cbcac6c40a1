const encoder = new TextEncoder();

/** Writes to standard output; a reader that went away is no failure. @returns false when nobody reads any more */
export function print(text: string): boolean {
  return writeAll(Deno.stdout, text);
}

/** Writes to standard error. */
export function printError(text: string): void {
  writeAll(Deno.stderr, text);
}

function writeAll(target: { writeSync(bytes: Uint8Array): number }, text: string): boolean {
  try {
    for (let rest = encoder.encode(text); rest.length > 0;) rest = rest.subarray(target.writeSync(rest));
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    return false;
  }
}
