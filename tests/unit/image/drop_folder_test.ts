import { deepEqual, equal, ok } from "node:assert/strict";
import { DataLossError, type PodError, ResourceExhaustedError } from "../../../src/base/errors.ts";
import { parseImageId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { DropFolder } from "../../../src/image/import/drop_folder.ts";
import type { ImportResult } from "../../../src/image/import/archive_import.ts";
import { ImportRecords } from "../../../src/image/import/import_records.ts";
import type { ArchivePlace } from "../../../src/image/archive/archived_image.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

interface Tried {
  readonly file: string;
  readonly atMs: number;
}

/** A folder whose archives are not read: `result` says what became of each. */
async function withFolder(
  options: { readonly files: readonly string[]; readonly retryMs?: number },
  result: (file: string, tries: number) => Promise<ImportResult>,
  body: (folder: DropFolder, tried: readonly Tried[], records: ImportRecords) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "drop-" });
  const stop = new AbortController();
  const tried: Tried[] = [];
  const archives = {
    all: async ({ path }: ArchivePlace): Promise<ImportResult> => {
      const file = path.slice(path.lastIndexOf("/") + 1);
      tried.push({ file, atMs: performance.now() });
      return await result(file, tried.filter((one) => one.file === file).length);
    },
  };
  await Deno.mkdir(`${directory}/images.d`);
  for (const [i, file] of options.files.entries()) {
    await Deno.writeFile(`${directory}/images.d/${file}`, new Uint8Array(10 - i));
  }
  const records = new ImportRecords(`${directory}/records.json`, silentLogger);
  const retryMs = options.retryMs === undefined ? {} : { retryMs: options.retryMs };
  const folder = new DropFolder({ directory: `${directory}/images.d`, ...retryMs }, {
    ...{ archives, records, log: silentLogger },
    store: { findImage: () => Promise.resolve(undefined) },
  });
  const running = folder.run(stop.signal);
  try {
    await body(folder, tried, records);
  } finally {
    stop.abort();
    await running;
    await Deno.remove(directory, { recursive: true });
  }
}

const failing = (error: PodError): Promise<ImportResult> => Promise.reject(error);
const imported = (name: string): ImportResult => ({
  failures: [],
  images: [{ id: parseImageId("a".repeat(64)), names: [name], transport: "oci-archive", path: "/a", label: "" }],
});
/** Resolves when nothing is waiting or being imported. */
const settled = (folder: DropFolder): Promise<unknown> =>
  folder.provide(["r.example/none:1"], { signal: AbortSignal.timeout(10_000) });

Deno.test("DropFolder tries a full disk again, but not at once, and what is damaged not at all", async () => {
  const fixed = Promise.withResolvers<void>();
  await withFolder({ files: ["full.tar", "bad.tar"], retryMs: 400 }, (file, tries) => {
    if (file === "bad.tar") return failing(new DataLossError("it is damaged"));
    if (tries < 3) return failing(new ResourceExhaustedError("no space left"));
    fixed.resolve();
    return Promise.resolve(imported("r.example/a:1"));
  }, async (folder, tried) => {
    await settled(folder);
    deepEqual(folder.list().map(({ state, error }) => [state, error]).sort(), [["failed", "it is damaged"], [
      "failed",
      "no space left",
    ]]);
    await fixed.promise;
    await settled(folder);
    equal(folder.list().find(({ file }) => file === "full.tar")?.state, "imported");
    const times = tried.filter(({ file }) => file === "full.tar").map(({ atMs }) => atMs);
    equal(times.length, 3);
    ok(times.every((atMs, i) => i === 0 || atMs - (times[i - 1] ?? 0) >= 390), times.join(" "));
    equal(tried.filter(({ file }) => file === "bad.tar").length, 1);
  });
});

Deno.test("DropFolder takes pinned archives first, then small ones, two at a time", async () => {
  const gate = Promise.withResolvers<void>();
  const files = ["large.tar", "small.tar", "z.pinned.tar"];
  let atOnce = 0;
  await withFolder({ files }, async (file) => {
    atOnce++;
    await gate.promise;
    return imported(`r.example/${file}:1`);
  }, async (folder, tried) => {
    while (atOnce < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    deepEqual(tried.map(({ file }) => file), ["z.pinned.tar", "small.tar"]);
    deepEqual(folder.list().map(({ state }) => state), ["importing", "importing", "waiting"]);
    gate.resolve();
    await settled(folder);
    deepEqual(tried.map(({ file }) => file), ["z.pinned.tar", "small.tar", "large.tar"]);
    ok(folder.isPinned(parseImageId("a".repeat(64))));
  });
});

Deno.test("DropFolder tells of images of an archive that is good in part, and of what is not", async () => {
  const half = { ...imported("r.example/a:1"), failures: [new DataLossError("image 1 is damaged")] };
  await withFolder({ files: ["half.pinned.tar"] }, () => Promise.resolve(half), async (folder, tried, records) => {
    await settled(folder);
    const [status] = folder.list();
    deepEqual([status?.state, status?.error, status?.images.length], ["failed", "image 1 is damaged", 1]);
    const id = parseImageId("a".repeat(64));
    ok(folder.isPinned(id));
    // The policy of the archive's place counts for what came of it.
    deepEqual(records.originsOf(id).map(({ path }) => path), ["/a"]);
    ok(records.get("half.pinned.tar")?.stamp === "", "the next start reads it again");
    equal(tried.length, 1);
  });
});
