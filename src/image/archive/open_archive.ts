/** Opens archives and directories with images, in the pull process: what is in them is not trusted. */
import { atStage, FailedPreconditionError, NotFoundError } from "../../base/errors.ts";
import type { ArchivedImage, ArchivePlace, ArchiveTransport } from "./archived_image.ts";
import { dirImages } from "./dir_layout.ts";
import { dockerImages } from "./docker_archive.ts";
import { DirectoryTree, type FileTree } from "./file_tree.ts";
import { ociImages } from "./oci_layout.ts";
import { TarTree, type TarTreeOptions } from "./tar_tree.ts";

/** An archive while it is used. */
export interface OpenArchive extends Disposable {
  readonly transport: ArchiveTransport;
  readonly images: readonly ArchivedImage[];
}

/**
 * @throws ErrnoError, DataLossError and others, each with the path
 */
export async function openArchive(place: ArchivePlace, options: TarTreeOptions): Promise<OpenArchive> {
  const { path } = place;
  try {
    using stack = new DisposableStack();
    const { isDirectory } = await Deno.lstat(path);
    const tree = stack.use(isDirectory ? new DirectoryTree(path) : await TarTree.open(path, options));
    const transport = place.transport ?? await recognised(tree, isDirectory ? "directory" : "file");
    const images = await imagesOf(tree, transport);
    const owned = stack.move();
    return { transport, images, [Symbol.dispose]: (): void => owned.dispose() };
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof Deno.errors.NotFound) throw new NotFoundError("image archive", path, { cause: error });
    throw atStage(`read the images of ${path}`, error);
  }
}

async function recognised(tree: FileTree, kind: "directory" | "file"): Promise<ArchiveTransport> {
  // Newer versions of docker save write both; the layout says more.
  if (await tree.file("oci-layout") !== undefined && await tree.file("index.json") !== undefined) {
    return kind === "directory" ? "oci" : "oci-archive";
  }
  if (await tree.file("manifest.json") !== undefined) return kind === "directory" ? "dir" : "docker-archive";
  throw new FailedPreconditionError("it has neither index.json with oci-layout nor manifest.json: it holds no images");
}

async function imagesOf(tree: FileTree, transport: ArchiveTransport): Promise<readonly ArchivedImage[]> {
  switch (transport) {
    case "oci":
    case "oci-archive":
      return await ociImages(tree);
    case "docker-archive":
      return await dockerImages(tree);
    case "dir":
      return dirImages(tree);
  }
}
