import type { StatusDeps } from "./types.ts";

/** `GET /archives`: the drop folder, with names as in the other documents of this API. */
export function archivesDocument(
  { directory, problem, archives }: ReturnType<StatusDeps["archives"]["status"]>,
): Readonly<Record<string, unknown>> {
  return {
    directory,
    ...(problem === "" ? {} : { problem }),
    archives: archives.map(({ file, state, sizeBytes, pinned, images, error }) => ({
      file,
      state,
      size: sizeBytes,
      pinned,
      images: images.map(({ id, names }) => ({ id, names })),
      ...(error === undefined ? {} : { error }),
    })),
  };
}
