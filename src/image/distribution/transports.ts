import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { apiHost, type HostCertificates, hostCertificates, systemAuthorities } from "./certificates.ts";
import { NodeTransport } from "./node_transport.ts";
import { proxyFor, type ProxySettings } from "./proxy.ts";
import { FetchTransport, type HttpTransport } from "./transport.ts";

export interface TransportOptions {
  readonly proxy?: ProxySettings;
  /** Default: those of containers-certs.d(5). */
  readonly certificateDirectories?: readonly string[];
  /** SSL_CERT_FILE. */
  readonly authoritiesFile?: string;
}

/** How far a host is trusted. */
export interface HostTrust {
  /** Certificates are not verified. */
  readonly insecure: boolean;
  /** The registry that a client is sent there by, `host[:port]`. */
  readonly registry?: string;
}

/** Ports that fetch refuses (the "bad ports" of the Fetch standard, above 1023; below that no registry lives but 80/443). */
const FETCH_REFUSES = new Set([1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080]);

/** Whether fetch would refuse the port; IRC's 6665 to 6669 are among them. */
function fetchRefuses(url: URL): boolean {
  const port = Number(url.port);
  if (url.port === "") return false;
  return (port < 1024 && port !== 80 && port !== 443) || (port >= 6665 && port <= 6669) || FETCH_REFUSES.has(port);
}

/** HTTP clients with the trust and the proxy that each host needs, made once per host and kept until disposed. */
export class Transports implements Disposable {
  readonly #made = new Map<string, Promise<HttpTransport>>();
  readonly #open: HttpTransport[] = [];
  #system: Promise<string | undefined> | undefined;

  constructor(private readonly options: TransportOptions = {}) {}

  /** @throws FailedPreconditionError for unusable certificates; InvalidArgumentError for a bad proxy setting */
  async for(url: URL, options: HostTrust): Promise<HttpTransport> {
    const key = `${url.origin} ${options.insecure} ${options.registry ?? ""}`;
    let made = this.#made.get(key);
    if (made === undefined) {
      made = this.#make(url, options);
      this.#made.set(key, made);
      made.catch(() => this.#made.delete(key));
    }
    return await made;
  }

  [Symbol.dispose](): void {
    for (const transport of this.#open.splice(0)) transport[Symbol.dispose]();
    this.#made.clear();
  }

  async #make(url: URL, options: HostTrust): Promise<HttpTransport> {
    const proxy = proxyFor(url, this.options.proxy ?? {});
    const secure = url.protocol === "https:";
    const own = secure ? await this.#certificates(url, options.registry) : { authorities: [] };
    const system = secure ? await (this.#system ??= systemAuthorities(this.options.authoritiesFile)) : undefined;
    const caCerts = [...own.authorities, ...(system === undefined ? [] : [system])];
    let transport: HttpTransport;
    if (fetchRefuses(url) || (secure && options.insecure)) {
      transport = new NodeTransport({
        verifyTls: !options.insecure,
        caCerts,
        ...(own.client === undefined ? {} : { clientCertificate: own.client }),
        ...(proxy === undefined ? {} : { proxy }),
      });
    } else {
      transport = fetchTransport(url, {
        caCerts,
        ...own.client,
        ...(proxy === undefined ? {} : {
          proxy: {
            url: proxy.url.href,
            ...(proxy.basicAuth === undefined ? {} : { basicAuth: proxy.basicAuth }),
          },
        }),
      });
    }
    this.#open.push(transport);
    return transport;
  }

  /**
   * The files of the URL's host. Where a registry sends its clients elsewhere (tokens, blobs), the authorities that are
   * trusted for the registry are trusted there as well; its client certificate is shown to itself only.
   */
  async #certificates(url: URL, registry: string | undefined): Promise<HostCertificates> {
    const { certificateDirectories: directories } = this.options;
    const read = (names: readonly string[]): Promise<HostCertificates> =>
      hostCertificates(names, directories === undefined ? {} : { directories });
    const names = [url.host, ...(url.port === "" ? [`${url.hostname}:443`] : [])];
    if (registry === undefined) return await read(names);
    const api = apiHost(registry);
    if (URL.parse(`https://${api}`)?.host === url.host) return await read([registry, ...names]);
    const [there, main] = await Promise.all([read(names), read([registry, api])]);
    return { ...there, authorities: [...there.authorities, ...main.authorities] };
  }
}

function fetchTransport(
  url: URL,
  options: Deno.CreateHttpClientOptions & { cert?: string; key?: string },
): HttpTransport {
  try {
    return new FetchTransport(options);
  } catch (error) {
    throw new FailedPreconditionError(`set up TLS for ${url.host}: ${messageOf(error)}`, { cause: error });
  }
}
