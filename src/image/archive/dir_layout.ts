/** The one image of a `dir:` directory: manifest.json, and blobs by the digits of their digests. */
import { digestHex } from "../../base/ids.ts";
import { digestOf } from "../distribution/repository.ts";
import type { ArchivedImage } from "./archived_image.ts";
import { type FileTree, readDocument } from "./file_tree.ts";
import { signaturesInFiles } from "./_signatures.ts";
import { loadManifest } from "./oci_layout.ts";

/** It has no name. */
export function dirImages(tree: FileTree): readonly ArchivedImage[] {
  return [{
    names: [],
    label: "",
    load: async (platform) => {
      const bytes = await readDocument(tree, "manifest.json");
      const top = { bytes, digest: digestOf(bytes, "sha256"), contentType: "" };
      const image = await loadManifest(tree, {
        top,
        platform,
        blobName: ({ digest }) => digestHex(digest),
        manifestName: ({ digest }) => `${digestHex(digest)}.manifest.json`,
      });
      const prefix = image.index === undefined ? "" : `${digestHex(image.manifest.digest)}.`;
      return { ...image, signatures: () => signaturesInFiles(tree, prefix) };
    },
  }];
}
