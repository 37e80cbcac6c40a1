/**
 * HTTP through node:http and node:https, for what fetch cannot do: TLS that is not verified (`insecure = true`), and
 * ports that fetch refuses for the sake of browsers.
 */
import { Buffer } from "node:buffer";
import * as http from "node:http";
import * as https from "node:https";
import type { Socket } from "node:net";
import * as tls from "node:tls";
import { PodError, UnimplementedError } from "../../base/errors.ts";
import type { ProxyServer } from "./proxy.ts";
import { RegistryError } from "./registry_error.ts";
import {
  type ByteReader,
  connectionError,
  type HttpRequest,
  type HttpResponse,
  type HttpTransport,
} from "./transport.ts";

export interface NodeTransportOptions {
  readonly verifyTls: boolean;
  /** PEM; in place of the library's own list when TLS is verified. */
  readonly caCerts: readonly string[];
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
  readonly proxy?: ProxyServer;
}

/** See the module comment. */
export class NodeTransport implements HttpTransport {
  constructor(private readonly options: NodeTransportOptions) {}

  async send(request: HttpRequest): Promise<HttpResponse> {
    try {
      const message = await this.#exchange(request);
      return {
        status: message.statusCode ?? 0,
        header: (name): string | undefined => {
          const value = message.headers[name];
          return Array.isArray(value) ? value.join(", ") : value;
        },
        body: new MessageBody(message, request.url),
      };
    } catch (error) {
      request.signal.throwIfAborted();
      throw error instanceof PodError ? error : connectionError(request.url, error);
    }
  }

  [Symbol.dispose](): void {}

  async #exchange(request: HttpRequest): Promise<http.IncomingMessage> {
    const { url, method, headers, body, signal } = request;
    const options: https.RequestOptions = { method, headers: { ...headers, host: url.host }, signal, ...target(url) };
    const { proxy } = this.options;
    if (proxy !== undefined && proxy.url.protocol !== "http:") {
      throw new UnimplementedError(
        `${url.origin}: an insecure registry behind a proxy of type ${proxy.url.protocol} is not supported; use an http:// proxy`,
      );
    }
    if (url.protocol === "http:") {
      if (proxy === undefined) return await finish(http.request({ ...options, agent: false }), body);
      return await finish(http.request({ ...options, ...viaProxy(url, { proxy, headers }), agent: false }), body);
    }
    const { promise: answer, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const secure = { ...options, ...this.#tls(url), agent: false };
    if (proxy === undefined) return await finish(https.request(secure), body);
    const socket = await tunnel(url, { proxy, signal });
    const raw = tls.connect({ ...this.#tls(url), socket });
    raw.once("error", reject);
    raw.once("secureConnect", () => {
      raw.off("error", reject);
      finish(http.request({ ...options, createConnection: () => raw }), body).then(resolve, reject);
    });
    return await answer;
  }

  #tls(url: URL): tls.ConnectionOptions {
    const { verifyTls, caCerts, clientCertificate } = this.options;
    const host = hostname(url);
    return {
      rejectUnauthorized: verifyTls,
      ...(/^[0-9.]+$|:/.test(host) ? {} : { servername: host }),
      ...(caCerts.length === 0 ? {} : { ca: [...caCerts] }),
      ...clientCertificate,
    };
  }
}

function target(url: URL): { host: string; port: number; path: string } {
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  return { host: hostname(url), port, path: `${url.pathname}${url.search}` };
}

function hostname(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1");
}

function viaProxy(
  url: URL,
  how: { readonly proxy: ProxyServer; readonly headers: Readonly<Record<string, string>> },
): http.RequestOptions {
  const headers = { ...how.headers, host: url.host, ...proxyAuthorization(how.proxy) };
  return { ...target(how.proxy.url), path: `${url.origin}${url.pathname}${url.search}`, headers };
}

function proxyAuthorization(proxy: ProxyServer): Record<string, string> {
  if (proxy.basicAuth === undefined) return {};
  const { username, password } = proxy.basicAuth;
  return { "proxy-authorization": `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` };
}

/** A TCP connection to the URL's host through the proxy's CONNECT. */
async function tunnel(url: URL, how: { readonly proxy: ProxyServer; readonly signal: AbortSignal }): Promise<Socket> {
  const { proxy, signal } = how;
  const { host, port } = target(url);
  const name = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const request = http.request({
    ...target(proxy.url),
    method: "CONNECT",
    path: name,
    headers: { host: name, ...proxyAuthorization(proxy) },
    signal,
    agent: false,
  });
  request.once("error", reject);
  request.once("connect", (response, socket) => {
    if (response.statusCode === 200) return resolve(socket as Socket);
    socket.destroy();
    const endpoint = url.origin;
    const message = `proxy ${proxy.url.host} answered CONNECT ${name} with ${response.statusCode}`;
    reject(new RegistryError(message, { kind: "registry_unavailable", retriable: true, endpoint }));
  });
  request.end();
  return await promise;
}

async function finish(request: http.ClientRequest, body: string | undefined): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  request.once("response", resolve);
  request.once("error", reject);
  request.end(body);
  return await promise;
}

class MessageBody implements ByteReader {
  readonly #iterator: AsyncIterator<Buffer>;

  constructor(private readonly message: http.IncomingMessage, private readonly url: URL) {
    this.#iterator = message[Symbol.asyncIterator]();
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const next = await this.#iterator.next();
      return next.done === true ? undefined : new Uint8Array(next.value);
    } catch (error) {
      throw connectionError(this.url, error);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.message.destroy();
    return Promise.resolve();
  }
}
