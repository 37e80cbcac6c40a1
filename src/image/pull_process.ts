/**
 * The pull process, `crio internal pull`: resolves, downloads, verifies and unpacks images for the daemon, which holds
 * the other end of descriptor 3. It ends when the daemon closes that, and at nothing else.
 *
 * @module
 */
import { Semaphore } from "../base/semaphore.ts";
import { CancelledError, DataLossError } from "../base/errors.ts";
import { duplexOf, OwnedFd } from "../linux/pipe.ts";
import { restrictThread } from "../linux/privileges.ts";
import { Transports } from "./distribution/transports.ts";
import { layerFromArchive, OpenArchives } from "./archive/open_archives.ts";
import type { Descriptor } from "./manifest/documents.ts";
import { parseConfigSummary } from "./manifest/image_config.ts";
import { Attempts } from "./pull/attempts.ts";
import { placesOf, pullLayerFrom, type SourcedLayer } from "./pull/layer_sources.ts";
import { LineChannel } from "./pull/line_channel.ts";
import type { LayerProgress } from "./progress/pull_status.ts";
import { releaseMemory } from "./pull/release_memory.ts";
import {
  type BlobTarget,
  CHANNEL_FD,
  type FromProcess,
  type LayerResult,
  type LayerTarget,
  NEEDED_CAPABILITIES,
  type PullJob,
  type ResolvedMessage,
  type ToProcess,
  type VerifyJob,
} from "./pull/protocol.ts";
import { trustedInArchive, trustedSignatures, verifyAgain } from "./pull/trust.ts";
import { SilentHosts } from "./pull/silent_hosts.ts";
import { Unpackers } from "./pull/unpacker.ts";
import { describeFailure, type ResolvedImage, resolveImage } from "./pull/resolve.ts";

/** Layers of one image that are downloaded and unpacked at a time; containers/image has the same limit. */
const PARALLEL_LAYERS = 6;
/** What a pull leaves behind is given back to the system this long after the last one. */
const REST_MS = 500;
/** The second thread stays longer: pulls come in bursts, and a new one compiles everything again. */
const THREAD_REST_MS = 10_000;
/** Progress is said this often at most. */
const PROGRESS_MS = 500;

/** Serves pulls until the daemon closes the channel. @returns the exit code, 0 */
export async function runPullProcess(): Promise<number> {
  restrictThread(NEEDED_CAPABILITIES);
  await new PullServer().closed;
  return 0;
}

/** The channel and the jobs that came through it. */
class PullServer {
  readonly closed: Promise<void>;
  readonly #jobs = new Map<number, RunningJob>();
  readonly #channel: LineChannel<ToProcess, FromProcess>;
  readonly #unpackers = new Unpackers();
  readonly #silent = new SilentHosts();
  readonly #archives: OpenArchives;
  readonly #rest = new Set<ReturnType<typeof setTimeout>>();

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#channel = new LineChannel<ToProcess, FromProcess>(duplexOf(new OwnedFd(CHANNEL_FD)), {
      message: (message) => this.#take(message),
      closed: () => {
        this.#cancelRest();
        for (const job of this.#jobs.values()) job.cancel("the daemon is gone");
        this.#unpackers[Symbol.dispose]();
        this.#archives[Symbol.dispose]();
        resolve();
      },
    });
    this.#archives = new OpenArchives((answer) => this.#channel.send(answer));
  }

  #take(message: ToProcess): void {
    const { id } = message;
    if (message.type === "pull" || message.type === "verify") {
      this.#cancelRest();
      const answer = (message: FromProcess): void => this.#channel.send(message);
      const job = new RunningJob(id, {
        unpackers: this.#unpackers,
        archives: this.#archives,
        silent: this.#silent,
        answer,
      });
      this.#jobs.set(id, job);
      const work = message.type === "pull" ? job.pull(message.job) : job.verify(message.job);
      work.finally(() => this.#ended(id));
    } else if (message.type === "plan") {
      this.#jobs.get(id)?.plan.resolve(message.layers);
    } else if (message.type === "open") {
      this.#cancelRest();
      this.#archives.open(id, message.archive);
    } else if (message.type === "close") {
      this.#archives.close(id);
      this.#ended(id);
    } else {
      this.#archives.cancel(id);
      this.#jobs.get(id)?.cancel("the pull was cancelled");
    }
  }

  #ended(id: number): void {
    this.#jobs.delete(id);
    if (this.#jobs.size > 0 || this.#archives.size > 0) return;
    this.#cancelRest();
    this.#rest.add(setTimeout(releaseMemory, REST_MS));
    this.#rest.add(setTimeout(() => this.#unpackers.rest(), THREAD_REST_MS));
  }

  #cancelRest(): void {
    for (const timer of this.#rest) clearTimeout(timer);
    this.#rest.clear();
  }
}

/** An image, wherever it is. */
interface FoundImage
  extends
    Pick<ResolvedImage, "kind" | "manifest" | "index" | "config" | "layers">,
    Pick<ResolvedMessage, "signatures" | "signatureFailure"> {
  /** For the log. */
  readonly origin: string;
}

type LayerFrom = (layer: Descriptor, rest: Omit<SourcedLayer, "layer" | "attempts">) => Promise<LayerResult>;

/** One image on its way. */
class RunningJob {
  readonly plan = Promise.withResolvers<readonly (LayerTarget | BlobTarget)[]>();
  readonly #controller = new AbortController();
  #progress = new LayerCounts(0);

  constructor(
    private readonly id: number,
    private readonly deps: {
      readonly unpackers: Unpackers;
      readonly silent: SilentHosts;
      readonly archives: OpenArchives;
      readonly answer: (message: FromProcess) => void;
    },
  ) {
    this.plan.promise.catch(() => {});
  }

  cancel(reason: string): void {
    const error = new CancelledError(reason);
    this.#controller.abort(error);
    this.plan.reject(error);
  }

  /** Never rejects: what goes wrong is told to the daemon. */
  async pull(job: PullJob): Promise<void> {
    await this.#answer(() => this.#pull(job));
  }

  /** Looks at the signatures of an image that is in the store. Never rejects either. */
  async verify(job: VerifyJob): Promise<void> {
    await this.#answer(async () => {
      await verifyAgain(job);
      return [];
    });
  }

  async #answer(work: () => Promise<LayerResult[]>): Promise<void> {
    const { id } = this;
    try {
      const layers = await work();
      this.deps.answer({ type: "done", id, layers });
    } catch (error) {
      this.deps.answer({ type: "failed", id, failure: describeFailure(error) });
    }
  }

  async #pull(job: PullJob): Promise<LayerResult[]> {
    if (job.archive !== undefined) {
      const image = await this.deps.archives.load(job.archive, job.platform);
      const found = { ...image, ...await trustedInArchive(job, image, this.#controller) };
      return await this.#bring(
        job,
        found,
        (layer, rest) => layerFromArchive(image, { ...rest, layer }),
      );
    }
    const { signal } = this.#controller;
    const { proxy, certificateDirectories, authoritiesFile } = job;
    using transports = new Transports({
      proxy,
      ...(certificateDirectories === undefined ? {} : { certificateDirectories }),
      ...(authoritiesFile === undefined ? {} : { authoritiesFile }),
    });
    const attempts = new Attempts(job, (endpoint) => this.deps.answer({ type: "endpoint", id: this.id, endpoint }));
    const image = await resolveImage(job, { transports, attempts, silent: this.deps.silent, signal });
    // While signatures are looked at, the second thread comes up.
    if (image.kind === "image") this.#prepare(image.layers);
    const signatures = await trustedSignatures(job, image, { transports, signal });
    const found = { ...image, ...signatures, origin: image.places[0].repository.host.origin };
    return await this.#bring(
      job,
      found,
      (layer, rest) => pullLayerFrom(placesOf(layer, image), { ...rest, layer, attempts }),
    );
  }

  #prepare(layers: readonly Descriptor[]): void {
    this.deps.unpackers.prepare(layers.reduce((total, layer) => total + layer.sizeBytes, 0));
  }

  /** Tells what was found, and brings the layers that the daemon wants. */
  async #bring(job: PullJob, image: FoundImage, layerFrom: LayerFrom): Promise<LayerResult[]> {
    const isImage = image.kind === "image";
    const diffIds = isImage ? parseConfigSummary(image.config, image.layers.length).diffIds : [];
    if (isImage) this.#prepare(image.layers);
    this.deps.answer({ type: "resolved", id: this.id, resolved: messageOf(image) });
    const targets = await this.plan.promise;
    if (targets.length === 0) return [];
    this.#progress = new LayerCounts(image.layers.length);
    const timer = setInterval(
      () => this.deps.answer({ type: "progress", id: this.id, progress: this.#progress }),
      Math.min(job.progressMs ?? PROGRESS_MS, PROGRESS_MS),
    );
    try {
      return await this.#layers({ image, diffIds, targets, layerFrom });
    } finally {
      clearInterval(timer);
    }
  }

  /** All layers, the largest first; the first failure stops the others and is the one that counts. */
  async #layers(work: {
    readonly image: FoundImage;
    readonly diffIds: ReturnType<typeof parseConfigSummary>["diffIds"];
    readonly targets: readonly (LayerTarget | BlobTarget)[];
    readonly layerFrom: LayerFrom;
  }): Promise<LayerResult[]> {
    const { image, diffIds, targets, layerFrom } = work;
    const progress = this.#progress;
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#controller.signal, stop.signal]);
    const places = new Semaphore(PARALLEL_LAYERS);
    const one = async (target: LayerTarget | BlobTarget): Promise<LayerResult> => {
      using _place = await places.acquire({ signal });
      const layer = image.layers[target.index];
      if (layer === undefined) throw new DataLossError(`there is no layer ${target.index}`);
      const result = await layerFrom(layer, {
        diffId: diffIds[target.index],
        target,
        unpack: this.deps.unpackers.choose(layer.sizeBytes),
        downloading: (bytes): void => progress.add("downloaded", target.index, bytes),
        unpacking: (bytes): void => progress.add("unpacked", target.index, bytes),
        signal,
      });
      progress.finished.push(target.index);
      return result;
    };
    const size = (target: LayerTarget | BlobTarget): number => image.layers[target.index]?.sizeBytes ?? 0;
    const running = targets.toSorted((a, b) => size(b) - size(a)).map((target) =>
      one(target).catch((error: unknown) => {
        stop.abort(error);
        throw error;
      })
    );
    // Everybody has to be gone before the daemon deletes the directories.
    await Promise.allSettled(running);
    signal.throwIfAborted();
    return await Promise.all(running);
  }
}

/** What is told as progress. */
class LayerCounts implements LayerProgress {
  readonly downloaded: number[];
  readonly unpacked: number[];
  readonly finished: number[] = [];

  constructor(layers: number) {
    this.downloaded = new Array<number>(layers).fill(0);
    this.unpacked = new Array<number>(layers).fill(0);
  }

  add(what: "downloaded" | "unpacked", index: number, bytes: number): void {
    this[what][index] = (this[what][index] ?? 0) + bytes;
  }
}

function messageOf(image: FoundImage): ResolvedMessage {
  const { manifest, index, config, origin, signatures, signatureFailure } = image;
  return {
    manifest: manifest.bytes.toBase64(),
    manifestContentType: manifest.contentType,
    config: config.toBase64(),
    endpoint: origin,
    signatures,
    ...(signatureFailure === undefined ? {} : { signatureFailure }),
    ...(index === undefined ? {} : { index: index.bytes.toBase64(), indexContentType: index.contentType }),
  };
}
