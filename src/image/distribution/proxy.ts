/**
 * HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go programs read them (golang.org/x/net/http/httpproxy): the upper-case name
 * wins, and loopback is never proxied. fetch's own reading differs, so the pull process runs without these variables
 * in its environment and gets the result of this.
 */
import { InvalidArgumentError } from "../../base/errors.ts";

/** Plain data: travels to the pull process. */
export interface ProxySettings {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
}

export interface ProxyServer {
  /** Without user and password. */
  readonly url: URL;
  readonly basicAuth?: { readonly username: string; readonly password: string };
}

/** The settings of an environment. */
export function proxySettings(environment: Readonly<Record<string, string | undefined>>): ProxySettings {
  const read = (name: string): string | undefined => {
    const value = environment[name] ?? environment[name.toLowerCase()];
    return value === undefined || value === "" ? undefined : value;
  };
  const httpProxy = read("HTTP_PROXY");
  const httpsProxy = read("HTTPS_PROXY");
  const noProxy = read("NO_PROXY");
  return {
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(httpsProxy === undefined ? {} : { httpsProxy }),
    ...(noProxy === undefined ? {} : { noProxy }),
  };
}

/** The proxy for a URL, or undefined to connect directly. @throws InvalidArgumentError when its URL is not one */
export function proxyFor(url: URL, settings: ProxySettings): ProxyServer | undefined {
  const text = url.protocol === "https:" ? settings.httpsProxy : settings.httpProxy;
  if (text === undefined || isExempt(url, settings.noProxy ?? "")) return undefined;
  const parsed = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (parsed === null || !["http:", "https:", "socks5:", "socks5h:"].includes(parsed.protocol)) {
    const name = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
    throw new InvalidArgumentError(`${name} is not the URL of an http, https or socks5 proxy`);
  }
  const { username, password } = parsed;
  parsed.username = "";
  parsed.password = "";
  if (username === "") return { url: parsed };
  return {
    url: parsed,
    basicAuth: { username: decodeURIComponent(username), password: decodeURIComponent(password) },
  };
}

function isExempt(url: URL, noProxy: string): boolean {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1").toLowerCase().replace(/\.$/, "");
  const port = url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
  if (host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host)) return true;
  const address = parseAddress(host);
  return noProxy.split(",").some((raw) => entryMatches(raw.trim().toLowerCase(), { host, port, address }));
}

interface Target {
  readonly host: string;
  readonly port: string;
  readonly address: Uint8Array | undefined;
}

function entryMatches(entry: string, target: Target): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  const range = /^([^/]+)\/(\d{1,3})$/.exec(entry);
  if (range !== null) return inRange(target.address, { base: range[1] ?? "", bits: Number(range[2]) });
  const { name, port } = splitPort(entry);
  if (port !== undefined && port !== target.port) return false;
  const address = parseAddress(name);
  if (address !== undefined) return target.address !== undefined && same(address, target.address);
  const domain = name.startsWith("*.") ? name.slice(1) : name;
  if (domain.startsWith(".")) return target.host.endsWith(domain);
  return target.host === domain || target.host.endsWith(`.${domain}`);
}

function splitPort(entry: string): { name: string; port?: string } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry);
  const plain = bracketed ?? /^([^:]+):(\d+)$/.exec(entry);
  if (plain === null) return { name: entry };
  return { name: plain[1] ?? "", ...(plain[2] === undefined ? {} : { port: plain[2] }) };
}

function inRange(address: Uint8Array | undefined, range: { readonly base: string; readonly bits: number }): boolean {
  const base = parseAddress(range.base);
  if (address === undefined || base === undefined || base.length !== address.length) return false;
  if (range.bits > base.length * 8) return false;
  for (let bit = 0; bit < range.bits; bit += 8) {
    const mask = 0xff << Math.max(0, 8 - (range.bits - bit)) & 0xff;
    const at = bit >> 3;
    if (((base[at] ?? 0) & mask) !== ((address[at] ?? 0) & mask)) return false;
  }
  return true;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The 4 or 16 bytes of an IP address, or undefined. */
function parseAddress(text: string): Uint8Array | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (v4 !== null) {
    const parts = v4.slice(1).map(Number);
    return parts.every((part) => part <= 255) ? Uint8Array.from(parts) : undefined;
  }
  if (!text.includes(":")) return undefined;
  // URL does the hard part: it writes every IPv6 address in one canonical, compressed form.
  const canonical = URL.parse(`http://[${text}]`)?.hostname.slice(1, -1);
  if (canonical === undefined) return undefined;
  const [head = "", tail] = canonical.split("::");
  const groups = (part: string): number[] => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const middle = new Array<number>(Math.max(0, 8 - front.length - back.length)).fill(0);
  return Uint8Array.from([...front, ...middle, ...back].flatMap((group) => [group >> 8, group & 0xff]));
}
