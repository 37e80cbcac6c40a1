import { randomHex } from "../base/ids.ts";

export interface AtomicWriteOptions {
  /** Permission bits of the file. Default 0600. */
  readonly mode?: number;
  /** False: neither the file nor the directory is synced, so a power cut may lose or empty it. Default true. */
  readonly durable?: boolean;
}

/**
 * Puts `bytes` at `path` so that a reader or a crash sees the old content or the new one, never a mixture: temporary
 * file `.tmp-<name><random>` beside it, fsync, rename, fsync of the directory.
 *
 * @throws Deno's file errors; the temporary file is removed then
 */
export async function writeFileAtomic(
  path: string,
  bytes: Uint8Array,
  options: AtomicWriteOptions = {},
): Promise<void> {
  const { mode = 0o600, durable = true } = options;
  const slash = path.lastIndexOf("/");
  const directory = path.slice(0, slash);
  const temporary = `${directory}/.tmp-${path.slice(slash + 1, slash + 200)}${randomHex(6)}`;
  try {
    if (durable) await writeSynced(temporary, bytes, mode);
    else await Deno.writeFile(temporary, bytes, { createNew: true, mode });
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  if (durable) await syncDirectory(directory);
}

async function writeSynced(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode });
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  await file.sync();
}

/** Makes the entries of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  using directory = await Deno.open(path, { read: true });
  await directory.sync();
}
