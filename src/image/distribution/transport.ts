/** HTTP as the distribution client needs it: one request, headers, a body that is read piece by piece. */
import type { ErrorKind } from "../../base/errors.ts";
import { messageOf } from "../../base/errors.ts";
import { quoteForeign, redactedUrl, RegistryError } from "./registry_error.ts";

/** Pieces of a body. A piece is valid until the next `read`. */
export interface ByteReader extends AsyncDisposable {
  /** The next piece, or undefined at the end. */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

export interface HttpRequest {
  readonly method: "GET" | "POST" | "HEAD";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the exchange, the body included. */
  readonly signal: AbortSignal;
}

/** The body must be read to its end or disposed. Redirects are answers like others. */
export interface HttpResponse {
  readonly status: number;
  /** @param name in lower case; several values are joined by `, ` */
  header(name: string): string | undefined;
  readonly body: ByteReader;
}

/** One way to talk HTTP, with its trust and proxy settled. @throws RegistryError when there is no answer */
export interface HttpTransport extends Disposable {
  send(request: HttpRequest): Promise<HttpResponse>;
}

/** Bytes of the buffer that the kernel's bytes are read into; fewer and larger reads cost less (PLATFORM figures). */
const READ_BUFFER_BYTES = 256 * 1024;

/** HTTP through fetch: HTTP/1.1 and HTTP/2, TLS that is verified. */
export class FetchTransport implements HttpTransport {
  readonly #client: Deno.HttpClient;

  constructor(options: Deno.CreateHttpClientOptions) {
    this.#client = Deno.createHttpClient(options);
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const { method, url, headers, body, signal } = request;
    try {
      const init = { method, headers, signal, redirect: "manual" as const, client: this.#client };
      const response = await fetch(url, body === undefined ? init : { ...init, body });
      return {
        status: response.status,
        header: (name): string | undefined => response.headers.get(name) ?? undefined,
        body: new FetchBody(response.body, url),
      };
    } catch (error) {
      signal.throwIfAborted();
      throw connectionError(url, error);
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

class FetchBody implements ByteReader {
  readonly #reader: ReadableStreamBYOBReader | undefined;
  #buffer = new ArrayBuffer(0);

  constructor(stream: ReadableStream<Uint8Array> | null, private readonly url: URL) {
    this.#reader = stream?.getReader({ mode: "byob" });
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#reader === undefined) return undefined;
    if (this.#buffer.byteLength === 0) this.#buffer = new ArrayBuffer(READ_BUFFER_BYTES);
    try {
      const { value, done } = await this.#reader.read(new Uint8Array(this.#buffer));
      if (done || value === undefined) return undefined;
      this.#buffer = value.buffer;
      return value;
    } catch (error) {
      throw connectionError(this.url, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A body that failed or was aborted rejects here with what the reader has reported already.
    await this.#reader?.cancel().catch(() => {});
  }
}

/** Reads a small body whole. @throws RegistryError when it is larger than `maxBytes` */
export async function readCapped(
  body: ByteReader,
  options: { readonly maxBytes: number; readonly what: string; readonly endpoint: string },
): Promise<Uint8Array<ArrayBuffer>> {
  const { maxBytes, what, endpoint } = options;
  let bytes = new Uint8Array(8192);
  let length = 0;
  for (let piece = await body.read(); piece !== undefined; piece = await body.read()) {
    if (length + piece.length > maxBytes) {
      throw new RegistryError(`${what} from ${endpoint} is larger than ${maxBytes} bytes`, {
        kind: "resource_exhausted",
        retriable: false,
        endpoint,
      });
    }
    if (length + piece.length > bytes.length) {
      const larger = new Uint8Array(Math.max(bytes.length * 2, length + piece.length));
      larger.set(bytes.subarray(0, length));
      bytes = larger;
    }
    bytes.set(piece, length);
    length += piece.length;
  }
  return bytes.slice(0, length);
}

/** What a connection failure means, from the words of the HTTP library and from Node's codes. */
export function connectionError(url: URL, error: unknown): RegistryError {
  const endpoint = url.origin;
  const text = failureText(error);
  const { kind, retriable, remedy = "" } = classify(text, url.host);
  return new RegistryError(`${redactedUrl(url)}: ${quoteForeign(text)}${remedy}`, { kind, retriable, endpoint }, {
    cause: error,
  });
}

/** The innermost reason, without the URL (its query may be a signature). */
function failureText(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = messageOf(inner).replace(/^error sending request for url \([^)]*\): /, "");
  return text.replace(/^client error \([A-Za-z]+\): /, "").replace(/\?\S+/g, "?…");
}

function classify(text: string, host: string): { kind: ErrorKind; retriable: boolean; remedy?: string } {
  if (/UnknownIssuer|self.signed|unable to get (?:local )?issuer/i.test(text)) {
    const remedy =
      `: if it is to be trusted, put the authority's certificate into /etc/containers/certs.d/${host}/ca.crt`;
    return { kind: "failed_precondition", retriable: false, remedy };
  }
  if (/certificate|CertExpired|invalid peer/i.test(text)) return { kind: "failed_precondition", retriable: false };
  if (/InvalidContentType|wrong version number|corrupt message/i.test(text)) {
    const remedy = ": it does not speak TLS; if plain HTTP is wanted, give it insecure = true in registries.conf";
    return { kind: "unavailable", retriable: false, remedy };
  }
  if (/handshake eof/i.test(text)) {
    const remedy = ": it may not speak TLS; if plain HTTP is wanted, give it insecure = true in registries.conf";
    return { kind: "unavailable", retriable: true, remedy };
  }
  if (/refused|dns error|lookup address|unreachable|ENOTFOUND|ETIMEDOUT|timed out|no route/i.test(text)) {
    return { kind: "registry_unavailable", retriable: true };
  }
  return { kind: "unavailable", retriable: true };
}
