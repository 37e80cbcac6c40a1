import { UsageError } from "./flags.ts";

/**
 * `crio internal …`: what the daemon starts of itself. Not for people.
 *
 * @throws UsageError for anything but `pull`
 */
export async function internalCommand(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name !== "pull" || rest.length > 0) {
    throw new UsageError(`command ${JSON.stringify(args.join(" "))} not supported`);
  }
  const { runPullProcess } = await import("../image/pull_process.ts");
  return await runPullProcess();
}
