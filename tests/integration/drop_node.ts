/** A node with a drop folder, as the daemon has it, and archives that Debian's tools make. */
import { once } from "node:events";
import { EventEmitter } from "node:events";
import type { Logger } from "../../src/base/logger.ts";
import { runCommand } from "../../src/linux/command.ts";
import { ArchiveImport } from "../../src/image/import/archive_import.ts";
import { allow } from "../../src/image/import/archive_policy.ts";
import { DropFolder, type FixedArchive } from "../../src/image/import/drop_folder.ts";
import { ImageSources } from "../../src/image/import/image_sources.ts";
import { ImportRecords } from "../../src/image/import/import_records.ts";
import { Images } from "../../src/image/images.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import type { FakeRegistry, StoredImage } from "../fakes/registry.ts";
import { type PullNode, recorder, withNode } from "./pull_node.ts";

export interface DropNode extends PullNode {
  readonly drop: string;
  readonly folder: DropFolder;
  readonly pulls: RunningPulls;
  readonly said: Said;
  /** Stops the folder and starts another one, as a restart does. */
  restart(): Promise<DropFolder>;
}

export interface DropOptions {
  readonly sources?: readonly string[];
  readonly fixed?: (root: string) => readonly FixedArchive[];
  /** Called before the folder is looked at first. */
  readonly prepare?: (
    place: { readonly drop: string; readonly registry: FakeRegistry; readonly root: string },
  ) => Promise<void>;
}

/** Lines of the log that can be waited for. */
export class Said {
  readonly lines: string[] = [];
  readonly #events = new EventEmitter();
  #seen = 0;

  /** The first line from the last one that was found on; waits for it. */
  async next(pattern: RegExp): Promise<string> {
    for (;;) {
      const at = this.lines.findIndex((line, i) => i >= this.#seen && pattern.test(line));
      if (at >= 0) {
        this.#seen = at + 1;
        return this.lines[at] ?? "";
      }
      await once(this.#events, "line", { signal: AbortSignal.timeout(20_000) }).catch(() => {
        throw new Error(`nothing like ${pattern} was said, but:\n${this.lines.join("\n")}`);
      });
    }
  }

  logger(): Logger {
    return recorder((line) => {
      this.lines.push(line);
      this.#events.emit("line");
    });
  }
}

/** Runs `body` with a node whose drop folder is watched. */
export async function withDrop(options: DropOptions, body: (node: DropNode) => Promise<void>): Promise<void> {
  await withNode({}, async (node) => {
    const { root, store, client: puller, registry } = node;
    const drop = `${root}/images.d`;
    await Deno.mkdir(drop, { mode: 0o700 });
    await options.prepare?.({ drop, registry, root });
    const said = new Said();
    const log = said.logger();
    const pulls = new RunningPulls();
    let running:
      | { readonly stop: AbortController; readonly done: Promise<void>; readonly folder: DropFolder }
      | undefined;
    const { promise: connected, resolve: connect } = Promise.withResolvers<ArchiveImport>();
    const policyFile = `${root}/policy.json`;
    let sources: ImageSources | undefined;
    const images = new Images({
      registriesFile: `${root}/registries.conf`,
      registriesDirectory: `${root}/none`,
      policyFile,
      retryBaseMs: 1,
      environment: { HOME: root },
    }, {
      ...{ store, puller, pulls, log },
      inUse: () => false,
      local: (pull) => {
        const archives = new ArchiveImport(root, {
          ...{ puller, store, pulls, log, pull },
          allow: (subject) => allow(policyFile, subject),
        });
        const lines = options.sources?.map((line) => line.replaceAll("ROOT", root)) ?? [];
        sources = new ImageSources(lines, { archives, log, records: new ImportRecords(`${root}/fetched.json`, log) });
        connect(archives);
        return {
          isPinned: (id) => running?.folder.isPinned(id) ?? false,
          fetch: (names, options) => sources?.fetch(names, options) ?? Promise.resolve(undefined),
          provide: (names, options) => running?.folder.provide(names, options) ?? Promise.resolve(undefined),
        };
      },
    });
    const archives = await connected;
    const stop = async (): Promise<void> => {
      running?.stop.abort();
      await running?.done;
    };
    const restart = async (): Promise<DropFolder> => {
      await stop();
      const records = new ImportRecords(`${root}/archives.json`, log);
      const fixed = options.fixed?.(root) ?? [];
      const folder = new DropFolder({ directory: drop, fixed }, { archives, records, store, log });
      await folder.load();
      const controller = new AbortController();
      running = { stop: controller, folder, done: folder.run(controller.signal) };
      return folder;
    };
    try {
      const folder = await restart();
      await body({ ...node, images, drop, folder, pulls, said, restart });
    } finally {
      await stop();
    }
  });
}

/** Runs one of Debian's tools; its own files go below `home`. */
export async function tool(home: string, ...argv: readonly string[]): Promise<void> {
  await runCommand(["/usr/bin/env", `HOME=${home}`, `XDG_RUNTIME_DIR=${home}`, ...argv], {
    signal: AbortSignal.timeout(60_000),
  });
}

/** `skopeo copy` of a registry's image; `to` as in containers-transports(5). */
export async function skopeo(home: string, image: StoredImage, to: string): Promise<void> {
  await tool(
    home,
    "skopeo",
    "--insecure-policy",
    "copy",
    "-q",
    "--src-tls-verify=false",
    `docker://${image.reference}`,
    to,
  );
}
