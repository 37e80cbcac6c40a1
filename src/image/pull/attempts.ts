/** What was asked for one image, and what became of it: told to the daemon, and the text of the error in the end. */
import { messageOf, PodError } from "../../base/errors.ts";
import { RegistryError } from "../distribution/registry_error.ts";
import type { EndpointMessage, PullJob } from "./protocol.ts";

/** A place that is asked: an endpoint of the job, or what a layer's own URL names. */
export interface Asked {
  readonly host: string;
  readonly path: string;
  readonly mirror: boolean;
}

interface Failure {
  readonly endpoint: Asked;
  readonly error: PodError;
}

/** No endpoint could give the image; lists each with its reason. */
export class EndpointsError extends PodError {
  override readonly kind;
  readonly status: number | undefined;
  readonly codes: readonly string[];

  constructor(name: string, failures: readonly Failure[]) {
    const reasons = failures.map(({ endpoint: { mirror, host }, error }) =>
      failures.length === 1 ? messageOf(error) : `${mirror ? "mirror " : ""}${host}: ${messageOf(error)}`
    );
    const tried = failures.length === 1 ? "" : `none of ${failures.length} endpoints has it: `;
    super(`pull ${name}: ${tried}${reasons.join("; ")}`);
    // The last endpoint is the image's own place: what it says counts most.
    const last = failures.at(-1)?.error;
    this.kind = last?.kind ?? "unavailable";
    const answer = last instanceof RegistryError ? last : undefined;
    this.status = answer?.status;
    this.codes = answer?.codes ?? [];
  }
}

/** One per pull. */
export class Attempts {
  /** By endpoint: of several layers that fail alike, the first speaks. */
  readonly #failures = new Map<Asked, PodError>();
  readonly #tried = new Set<Asked>();

  /** @param tell takes each endpoint once when it is asked, and once when it failed */
  constructor(
    private readonly image: Pick<PullJob, "name" | "reference">,
    private readonly tell: (message: EndpointMessage) => void,
  ) {}

  trying(endpoint: Asked): void {
    if (this.#tried.has(endpoint)) return;
    this.#tried.add(endpoint);
    this.tell({ endpoint: this.#name(endpoint), mirror: endpoint.mirror });
  }

  failed(endpoint: Asked, error: PodError): void {
    if (this.#failures.has(endpoint)) return;
    this.#failures.set(endpoint, error);
    this.tell({ endpoint: this.#name(endpoint), mirror: endpoint.mirror, failure: messageOf(error) });
  }

  /** The error of the whole pull: `last` alone where nothing else has failed. */
  error(endpoint: Asked, last: PodError): PodError {
    const others = [...this.#failures].map(([place, error]) => ({ endpoint: place, error }))
      .filter((failure) => failure.endpoint !== endpoint);
    if (others.length === 0 && !(last instanceof RegistryError)) return last;
    return new EndpointsError(this.image.name, [...others, { endpoint, error: last }]);
  }

  #name({ host, path }: Asked): string {
    const { reference } = this.image;
    return `${host}/${path}${reference.includes(":") ? "@" : ":"}${reference}`;
  }
}
