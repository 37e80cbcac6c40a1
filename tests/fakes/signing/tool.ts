/** Runs a program of the system to its end and gives what it printed. @throws Error with what it complained about */
export async function runTool(
  argv: readonly string[],
  options: { readonly env?: Record<string, string>; readonly cwd?: string; readonly input?: string } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { env = {}, cwd, input } = options;
  const [name = "", ...args] = argv;
  const child = new Deno.Command(name, {
    args,
    env,
    ...(cwd === undefined ? {} : { cwd }),
    stdin: input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (input !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  }
  const { success, stdout, stderr } = await child.output();
  if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}
