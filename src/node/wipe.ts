/** Removes what a reboot or an upgrade makes worthless: pods, containers and, after an upgrade, their images. */
import { messageOf } from "../base/errors.ts";
import { within } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { every } from "../base/periodic.ts";
import type { Config } from "../config/schema.ts";
import type { ImageInfo } from "../image/images.ts";
import type { Pods } from "./operations.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import type { StoredContainer } from "../storage/types.ts";
import { readVersionFile, writeVersionFile } from "./version_files.ts";

/** A plugin that hangs, or a process that does not die, must not hold the start for ever. */
const REMOVE_LIMIT_MS = 120_000;
/** The daemon serves after this time at the latest. */
const START_WAIT_MS = 5000;
/** Pods that could not be removed are tried again this often. */
const RETRY_MS = 10_000;

/** The parts of a node that a wipe touches. */
export interface WipedNode {
  readonly pods: Pick<Pods, "containers" | "sandboxes" | "records">;
  readonly store: {
    containers(): Promise<readonly StoredContainer[]>;
    /** Where the root file system of a container is mounted when it is. */
    mountPoint(id: string): Promise<string>;
    deleteContainer(id: string): Promise<void>;
  };
  readonly images: {
    list(): Promise<readonly Pick<ImageInfo, "id" | "pinned">[]>;
    remove(reference: string): Promise<void>;
  };
}

export interface WipeOptions {
  /** Whether images of the removed containers go too, unless they are pinned; asked once those are gone, before each. */
  readonly images: () => boolean;
  /** Pods that live stay: for when only a file says that the node has rebooted. */
  readonly keepLiving: boolean;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** What a wipe did. */
export interface WipeReport {
  readonly pods: number;
  readonly containers: number;
  readonly images: number;
  /** Names of living pods that were kept. */
  readonly kept: readonly string[];
  /** Ids of pods that are still there and should not be. */
  readonly left: readonly string[];
  /** Why something is still there, one line each. */
  readonly failed: readonly string[];
}

/** Pods that the kernel knows: one of their containers runs, or one of their namespaces is there. */
export function livingPods({ sandboxes, containers }: WipedNode["pods"]): SandboxRecord[] {
  const busy = new Set([...containers.list()].filter(({ state }) => state !== "exited").map((one) => one.sandboxId));
  return [...sandboxes.list()].filter(({ id, state, namespaces }) =>
    busy.has(id) || (state === "ready" && Object.values(namespaces).some((path) => path !== undefined))
  );
}

/** Removes pods with their containers, then containers of others of our kind, then images. Fails for nothing: it reports. */
export async function wipeNode(node: WipedNode, options: WipeOptions): Promise<WipeReport> {
  const { sandboxes, records } = node.pods;
  const [failed, left]: [string[], string[]] = [[], []];
  const kept = options.keepLiving ? livingPods(node.pods) : [];
  const keptIds = new Set<string>(kept.map(({ id }) => id));
  const doomed = [...sandboxes.list()].filter(({ id }) => !keptIds.has(id));
  const imageIds = new Set(
    [...records.values()].filter(({ sandboxId }) => !keptIds.has(sandboxId)).map((c) => c.imageId),
  );
  const before = records.size;
  await Promise.all(doomed.map(async ({ id, name }) => {
    try {
      await sandboxes.remove(id, { signal: limited(options.signal) });
    } catch (error) {
      failed.push(`pod ${name}: ${messageOf(error)}`);
      left.push(id);
    }
  }));
  const strays = await removeStrays(node, { failed, imageIds, log: options.log });
  const removedImages = options.images() ? await removeImages(node, { failed, imageIds, goesOn: options.images }) : 0;
  return {
    pods: doomed.length - left.length,
    containers: before - records.size + strays,
    images: removedImages,
    kept: kept.map(({ name }) => name),
    left,
    failed,
  };
}

/**
 * Containers of CRI-O, or of a crio whose records were lost: they name their pod; podman's do not. Mounted ones stay: nothing is
 * after a reboot, so they run, below monitors that we do not know.
 */
async function removeStrays(
  { store, pods }: WipedNode,
  { failed, imageIds, log }: {
    readonly failed: string[];
    readonly imageIds: Set<string>;
    readonly log: Logger;
  },
): Promise<number> {
  let [removed, mounted] = [0, 0];
  for (const { id, metadata, imageId } of await store.containers()) {
    if (pods.records.get(id) !== undefined || !namesPod(metadata)) continue;
    try {
      // Without a layer, or with a damaged record, there is no such place.
      if (await isMounted(await store.mountPoint(id).catch(() => ""))) {
        mounted++;
        continue;
      }
      await store.deleteContainer(id);
      if (imageId !== undefined) imageIds.add(imageId);
      removed++;
    } catch (error) {
      failed.push(`container ${id}: ${messageOf(error)}`);
    }
  }
  if (mounted > 0) {
    log.warn(
      `${mounted} containers of another program are mounted and stay: stop them with it, or drain and reboot the node`,
    );
  }
  return removed;
}

/** False also where there is nothing. */
async function isMounted(path: string): Promise<boolean> {
  const [there, parent] = await Promise.all(
    [path, path.replace(/\/[^/]*$/, "")].map((one) => Deno.lstat(one).catch(() => undefined)),
  );
  return there !== undefined && there.dev !== parent?.dev;
}

function namesPod(metadata: string): boolean {
  try {
    const pod: unknown = (JSON.parse(metadata) as Readonly<Record<string, unknown>> | null)?.["pod-id"];
    return typeof pod === "string" && pod !== "";
  } catch {
    return false; // Metadata is its maker's own: who does not write JSON is none of us.
  }
}

async function removeImages(
  { images, pods }: WipedNode,
  { failed, imageIds, goesOn }: {
    readonly failed: string[];
    readonly imageIds: ReadonlySet<string>;
    readonly goesOn: () => boolean;
  },
): Promise<number> {
  const free = (await images.list()).filter(({ id, pinned }) =>
    imageIds.has(id) && !pinned && !pods.containers.usesImage(id)
  );
  let removed = 0;
  for (const { id } of free) {
    if (!goesOn()) break;
    try {
      await images.remove(id);
      removed++;
    } catch (error) {
      failed.push(`image ${id}: ${messageOf(error)}`);
    }
  }
  return removed;
}

/**
 * The rules at the daemon's start, for `internal_wipe`: after a reboot (no `version_file`) pods and containers go; after an
 * upgrade (another minor version in `version_file_persist`) their images too. Then both files are written.
 *
 * Network plugins may need pods that only this daemon can start: after some seconds the wipe goes on in the background.
 *
 * @returns ends what goes on, and what tries again to remove what could not be removed
 */
export async function wipeAtStart(
  config: Config,
  node: WipedNode,
  { log, signal }: { readonly log: Logger; readonly signal: AbortSignal },
): Promise<Disposable> {
  const { versionFile, versionFilePersist, internalWipe } = config.crio;
  const [boot, installed] = await Promise.all([readVersionFile(versionFile), readVersionFile(versionFilePersist)]);
  const ended = new AbortController();
  const stack = new DisposableStack();
  stack.defer(() => ended.abort());
  if (internalWipe && (boot.kind !== "same" || installed.kind !== "same")) {
    const upgraded = installed.kind !== "same";
    const why = upgraded ? "an upgrade" : boot.kind === "missing" ? "a reboot" : "another version";
    // A file that is missing proves nothing while pods live: the kernel knows better. Another version is told by nobody else.
    const keepLiving = boot.kind !== "other" && installed.kind !== "other";
    let isServing = false;
    // Somebody may have pulled them anew for a container to come.
    const images = (): boolean => upgraded && !isServing;
    const options = { images, keepLiving, log, signal: AbortSignal.any([signal, ended.signal]) };
    const wiping = wipeNode(node, options).then(
      (report) => {
        if (options.signal.aborted) return;
        tell(report, { log, why });
        if (report.left.length > 0) stack.use(tryAgain(node, { left: report.left, ...options }));
      },
      (error) => log.error(`The wipe after ${why} failed: ${messageOf(error)}`),
    );
    const isDone = await within(wiping.then(() => true), START_WAIT_MS);
    if (isDone === undefined) log.warn(`The wipe after ${why} takes long, it goes on in the background`);
    isServing = true;
  }
  for (const path of [versionFile, versionFilePersist]) {
    await writeVersionFile(path).catch((error) => {
      log.warn(`the version cannot be noted, the next start takes it for a reboot: ${messageOf(error)}`, { path });
    });
  }
  return stack;
}

function tell(report: WipeReport, { log, why }: { readonly log: Logger; readonly why: string }): void {
  const { pods, containers, images, kept, failed } = report;
  if (kept.length > 0) {
    log.warn(`A version file is missing, but ${kept.length} pods live: they are kept`);
  }
  if (pods + containers + images > 0) log.info(`Wiped the node after ${why}`, { pods, containers, images });
  for (const reason of failed) log.warn(`The wipe after ${why} is not complete, it is tried again: ${reason}`);
}

/** The network plugins may come later than we do: pods that they did not let go are tried again until they are gone. */
function tryAgain({ pods }: WipedNode, { left, log, signal }: WipeOptions & Pick<WipeReport, "left">): Disposable {
  // These and no others: new pods have come meanwhile.
  const doomed = new Set(left);
  const timer = every(RETRY_MS, async () => {
    for (const id of doomed) {
      await pods.sandboxes.remove(id, { signal: limited(signal) }).then(() => doomed.delete(id), () => {});
    }
    if (doomed.size > 0) return;
    log.info("The wipe is complete");
    timer[Symbol.dispose]();
  }, log);
  return timer;
}

function limited(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(REMOVE_LIMIT_MS)]);
}
