/** Signatures that lie beside an image in an archive. They are not checked here. */
import { FailedPreconditionError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import type { Descriptor } from "../manifest/documents.ts";
import { attachmentTag, MAX_SIGNATURES, parseAttachment, SignatureBudget } from "../policy/attachment.ts";
import { parseSignature, type Signature } from "../policy/signature.ts";
import { type FileTree, readDocument } from "./file_tree.ts";

/**
 * Those in files `<prefix>signature-1` and on, as skopeo writes them into a directory.
 *
 * @throws FailedPreconditionError for too many; InvalidArgumentError for what is no signature
 */
export async function signaturesInFiles(tree: FileTree, prefix: string): Promise<readonly Signature[]> {
  const signatures: Signature[] = [];
  const budget = new SignatureBudget();
  for (let number = 1; number <= MAX_SIGNATURES; number++) {
    const name = `${prefix}signature-${number}`;
    if (await tree.file(name) === undefined) return signatures;
    const blob = await readDocument(tree, name);
    budget.take(blob.length);
    signatures.push(parseSignature(blob));
  }
  throw new FailedPreconditionError(`it has more than ${MAX_SIGNATURES} signatures`);
}

/**
 * Those that a layout has under the tag that the manifest's digest makes, as cosign and skopeo write them.
 *
 * @param read gives a blob whose digest was checked
 * @throws DataLossError, FailedPreconditionError for what is no such attachment
 */
export async function attachedSignatures(
  digest: Digest,
  options: {
    /** Entries of the layout's index by their tags. */
    readonly entries: ReadonlyMap<string, Descriptor>;
    readonly read: (descriptor: Descriptor) => Promise<Uint8Array<ArrayBuffer>>;
  },
): Promise<readonly Signature[]> {
  const { entries, read } = options;
  const tag = attachmentTag(digest);
  const entry = entries.get(tag);
  if (entry === undefined) return [];
  const about = { tag, contentType: entry.mediaType, budget: new SignatureBudget() };
  const signatures: Signature[] = [];
  for (const { descriptor, annotations } of parseAttachment(await read(entry), about)) {
    const { mediaType } = descriptor;
    signatures.push({ format: "sigstore", mediaType, payload: await read(descriptor), annotations });
  }
  return signatures;
}
