import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { checkStore } from "../storage/check.ts";
import type { CheckReport, StoreProblem } from "../storage/check_types.ts";
import type { Store } from "../storage/store.ts";
import type { StoreOptions } from "../storage/types.ts";

const SHOWN = 20;

interface Context {
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/**
 * After a stop that was not clean: compares records and directories, and removes what is damaged, containers without a
 * mounted root file system too. What cannot be repaired is left and told; nothing else is touched. Nor does a check that fails, as on
 * a disk with a bad block, keep the daemon from its pods.
 *
 * @throws the signal's reason
 */
export async function repairAfterCrash(store: Store, options: StoreOptions, context: Context): Promise<void> {
  const { log, signal } = context;
  try {
    await repair(store, options, context);
  } catch (error) {
    signal.throwIfAborted();
    log.error(
      `The store could not be checked after a shutdown that was not clean: ${messageOf(error)}; see \`crio check\``,
    );
  }
}

async function repair(store: Store, options: StoreOptions, { log, signal }: Context): Promise<void> {
  const before = await checkStore(options, { signal });
  const counts = { layers: before.layers, images: before.images, containers: before.containers };
  if (before.problems.length === 0) {
    log.info("The last shutdown was not clean; the store is sound", counts);
    return;
  }
  tell(before, log);
  const away = await absentStores(options);
  if (away.length > 0) {
    log.error(
      `Nothing is repaired: there is no image store at ${
        away.join(", ")
      }, and what stands on it looks damaged; mount it, ` +
        "or take it out of additionalimagestores, then `crio check --repair`",
    );
    return;
  }
  const { done, failed } = await store.repair(before, { removeContainers: true, signal });
  for (const step of done) log.warn(`Repaired the store: ${step}`);
  for (const reason of failed) log.error(`The store is not repaired: ${reason}`);
  const after = await checkStore(options, { signal });
  if (after.problems.length === 0) return;
  log.error(
    `${after.problems.length} problems of the store are left; \`crio check\` lists them, and with this daemon stopped ` +
      "`crio check --repair --force` removes what is damaged",
  );
}

/** Additional image stores that are not there now, as a share that is not mounted yet. */
async function absentStores({ additionalStores = [] }: StoreOptions): Promise<readonly string[]> {
  const found = await Promise.all(
    additionalStores.map((root) => Deno.stat(`${root}/overlay-layers/layers.json`).then(() => true, () => false)),
  );
  return additionalStores.filter((_, i) => found[i] !== true);
}

function tell({ problems }: CheckReport, log: Logger): void {
  log.warn(`The last shutdown was not clean, and ${problems.length} things in the store are damaged or left over`);
  const line = ({ subject, id, detail }: StoreProblem): string => `${subject} ${id}: ${detail}`;
  for (const problem of problems.slice(0, SHOWN)) log.warn(line(problem));
}
