/** One-shot credentials per Kubernetes namespace, as CRI-O's credential provider leaves them for one pull. */
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type AuthFile, readAuthFile } from "./auth_file.ts";

export interface NamespacedAuth {
  /** `namespaced_auth_dir`. */
  readonly directory: string;
  readonly log: Logger;
}

const IN_USE = "in-use";

/**
 * Takes the file `<namespace>-<SHA-256 of the repository>.json`: moved first, so that only one pull has it, then read and
 * deleted. Its content lives in the pull's memory only.
 *
 * @param repository without tag and digest, `docker.io/library/…` where nothing else is said
 * @returns undefined when there is none
 * @throws FailedPreconditionError when it cannot be read; the file is gone then too
 */
export async function takeNamespacedAuth(
  namespace: string,
  repository: string,
  options: NamespacedAuth,
): Promise<AuthFile | undefined> {
  const { directory, log } = options;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(repository));
  const stem = `${namespace}-${new Uint8Array(digest).toHex()}`;
  const from = `${directory}/${stem}.json`;
  const taken = `${directory}/${IN_USE}/${stem}-${crypto.randomUUID()}.json`;
  try {
    await Deno.lstat(from);
    await Deno.mkdir(`${directory}/${IN_USE}`, { recursive: true, mode: 0o700 });
    await Deno.rename(from, taken);
  } catch (error) {
    // Not there, or another pull was faster.
    if (error instanceof Deno.errors.NotFound) return undefined;
    log.error(`credentials of namespace ${namespace} cannot be taken: ${messageOf(error)}`, { file: from });
    return undefined;
  }
  log.info(`Using auth file for namespace ${namespace}: ${from}`);
  try {
    return await readAuthFile({ path: taken, required: true });
  } finally {
    await Deno.remove(taken).catch((error) => log.warn(`auth file ${taken} is left: ${messageOf(error)}`));
  }
}

/** Deletes what a daemon left that was killed between taking and deleting. */
export async function sweepNamespacedAuth(options: NamespacedAuth): Promise<void> {
  const { directory, log } = options;
  try {
    for await (const { name } of Deno.readDir(`${directory}/${IN_USE}`)) {
      await Deno.remove(`${directory}/${IN_USE}/${name}`);
      log.info("Removed an auth file that a pull left", { file: name });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) log.warn(`auth files in use are left: ${messageOf(error)}`);
  }
}
