import type { ByteReader } from "../distribution/transport.ts";

/** Containers read it as whoever they are; nobody writes it. */
const MODE = 0o644;

/** Writes a blob, which its reader checks, into a file that must not exist; on the disk when it returns. */
export async function writeBlob(from: ByteReader, path: string): Promise<void> {
  await using source = from;
  using file = await Deno.open(path, { write: true, createNew: true, mode: MODE });
  for (let piece = await source.read(); piece !== undefined; piece = await source.read()) {
    for (let done = 0; done < piece.length;) done += await file.write(piece.subarray(done));
  }
  await file.sync();
}
