/** Images from files of this node: the drop folder, and places that the configuration names. */
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import type { ImageId } from "../base/ids.ts";
import type { LocalImages } from "../image/images.ts";
import { ArchiveImport, type ArchiveImportDeps, subjectOf } from "../image/import/archive_import.ts";
import { type ArchiveStatus, DropFolder } from "../image/import/drop_folder.ts";
import { ImageSources, parsePlace } from "../image/import/image_sources.ts";
import { ImportRecords } from "../image/import/import_records.ts";
import { allow } from "../image/import/archive_policy.ts";
import type { PolicySubject } from "../image/policy/scopes.ts";

export interface ArchivesDeps extends Pick<ArchiveImportDeps, "puller" | "store" | "pulls"> {
  /** File that remembers what was imported. */
  readonly recordsFile: string;
  readonly log: Logger;
}

/** See the module comment. Life: `local`, `start`. */
export interface Archives {
  /** @param pull how an image gets into the store */
  local(pull: ArchiveImportDeps["pull"]): LocalImages;
  /** Where an image was taken from, for the policy. */
  originsOf(id: ImageId): readonly PolicySubject[];
  /** Imports what is there, and what comes, until the signal aborts; nobody waits for it. */
  start(signal: AbortSignal): AsyncDisposable;
  status(): { readonly directory: string; readonly problem: string; readonly archives: readonly ArchiveStatus[] };
}

/** Reads what is known of earlier imports. @throws InvalidArgumentError for a place that is none */
export async function openArchives({ crio, image }: Config, deps: ArchivesDeps): Promise<Archives> {
  const { log } = deps;
  let connected: ArchiveImportDeps["pull"] | undefined;
  const archives = new ArchiveImport(image.bigFilesTemporaryDir || crio.root, {
    ...deps,
    pull: {
      transfer: (what, pull) => {
        if (connected === undefined) throw new TypeError("an import before the images are there");
        return connected.transfer(what, pull);
      },
    },
    allow: (subject) => allow(image.signaturePolicy, subject),
  });
  const pause = parsePlace(image.pauseImage);
  const records = new ImportRecords(deps.recordsFile, log);
  const sources = new ImageSources(image.imageSources, { archives, records, log });
  const folder = new DropFolder(
    { directory: image.imagesDir, ...(pause === undefined ? {} : { fixed: [pause] }) },
    { ...deps, archives, records },
  );
  await folder.load();
  return {
    originsOf: (id) => records.originsOf(id).map(subjectOf),
    local: (pull): LocalImages => {
      connected = pull;
      return {
        isPinned: (id) => folder.isPinned(id),
        fetch: (names, options) => sources.fetch(names, options),
        provide: (names, options) => folder.provide(names, options),
      };
    },
    start: (signal): AsyncDisposable => {
      const running = folder.run(signal);
      return { [Symbol.asyncDispose]: () => running };
    },
    status: () => ({ directory: image.imagesDir, problem: folder.problem, archives: folder.list() }),
  };
}
