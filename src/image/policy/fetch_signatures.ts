/** Gets the signatures of an image: from a lookaside place, and attached to it in its registry. */
import { FailedPreconditionError, messageOf, PodError, StageError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { Exchange } from "../distribution/exchange.ts";
import { quoteForeign, redactedUrl, RegistryError } from "../distribution/registry_error.ts";
import type { Repository } from "../distribution/repository.ts";
import { readCapped } from "../distribution/transport.ts";
import type { Transports } from "../distribution/transports.ts";
import { attachmentTag, MAX_SIGNATURES, parseAttachment, SignatureBudget } from "./attachment.ts";
import type { SignatureSources } from "./registries_d.ts";
import { MAX_SIGNATURE_BYTES, parseSignature, type Signature } from "./signature.ts";

export interface FetchOptions {
  readonly sources: SignatureSources;
  readonly repository: Repository;
  /** Of the manifest that the signatures are for: the image's, not an index's. */
  readonly digest: Digest;
  readonly transports: Transports;
  /** Whether servers need not prove who they are: signatures do that themselves. */
  readonly insecure: boolean;
  readonly signal: AbortSignal;
}

const USER_AGENT = "cri-o";

/**
 * All signatures that are there, unchecked.
 *
 * @throws StageError with the kind of what failed: a place that does not answer is not one without signatures
 */
export async function fetchSignatures(options: FetchOptions): Promise<readonly Signature[]> {
  const { sources, digest, repository } = options;
  const signatures: Signature[] = [];
  const budget = new SignatureBudget();
  try {
    for await (const signature of lookaside(options, budget)) signatures.push(signature);
    if (sources.attachments) { for await (const signature of attachments(options, budget)) signatures.push(signature); }
  } catch (error) {
    options.signal.throwIfAborted();
    const kind = error instanceof PodError ? error.kind : "internal";
    const stage = `look for signatures of ${repository.path}@${digest}`;
    throw new StageError(stage, kind, messageOf(error), { cause: error });
  }
  return signatures;
}

/** `<place>/<repository>@<algorithm>=<hex>/signature-<n>`, from 1 on, up to the first that is not there. */
async function* lookaside(options: FetchOptions, budget: SignatureBudget): AsyncGenerator<Signature> {
  const { sources, repository, digest } = options;
  const base = `${sources.lookaside.replace(/\/$/, "")}/${repository.path}@${digest.replace(":", "=")}`;
  for (let number = 1; number <= MAX_SIGNATURES; number++) {
    const url = new URL(`${base}/signature-${number}`);
    const blob = url.protocol === "file:" ? await readFile(url) : await download(url, options);
    if (blob === undefined) return;
    budget.take(blob.length);
    yield parseSignature(blob);
  }
  throw new FailedPreconditionError(`${quoteForeign(base)} has more than ${MAX_SIGNATURES} signatures`);
}

async function readFile(url: URL): Promise<Uint8Array | undefined> {
  try {
    const { size } = await Deno.stat(url);
    if (size > MAX_SIGNATURE_BYTES) throw new FailedPreconditionError(`${url.pathname} is ${size} bytes long`);
    return await Deno.readFile(url);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

async function download(url: URL, options: FetchOptions): Promise<Uint8Array | undefined> {
  const { transports, insecure, signal } = options;
  const exchange = new Exchange({ transports, insecure, userAgent: USER_AGENT });
  const response = await exchange.send({ method: "GET", url, headers: {}, signal });
  await using body = response.body;
  const endpoint = response.finalOrigin;
  if (response.status === 404) return undefined;
  const what = `signature ${redactedUrl(url)}`;
  if (response.status !== 200) {
    const message = `${what}: ${endpoint} answered ${response.status}`;
    throw new RegistryError(message, { kind: "unavailable", status: response.status, retriable: false, endpoint });
  }
  return await readCapped(body, { maxBytes: MAX_SIGNATURE_BYTES, what, endpoint });
}

/** Layers of the manifest with the tag that cosign makes of a digest. */
async function* attachments(options: FetchOptions, budget: SignatureBudget): AsyncGenerator<Signature> {
  const { repository, digest, signal } = options;
  const tag = attachmentTag(digest);
  const manifest = await orMissing(repository.manifest(tag, signal));
  if (manifest === undefined) return;
  for (const { descriptor, annotations } of parseAttachment(manifest.bytes, { ...manifest, tag, budget })) {
    const payload = await repository.document(descriptor, signal);
    yield { format: "sigstore", mediaType: descriptor.mediaType, payload, annotations };
  }
}

async function orMissing<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof RegistryError && error.status === 404) return undefined;
    throw error;
  }
}
