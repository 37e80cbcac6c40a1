/** Whom to trust: the system's certificate authorities, and per-host files of containers-certs.d(5). */
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { configHome } from "../config_home.ts";

/** Extra trust for one registry host, and who we are to it. PEM texts. */
export interface HostCertificates {
  readonly authorities: readonly string[];
  readonly client?: { readonly cert: string; readonly key: string };
}

/** Directories of per-host certificates, first match wins (containers-certs.d(5)). */
export const CERTIFICATE_DIRECTORIES: readonly string[] = [
  "/etc/containers/certs.rootful.d",
  "/etc/containers/certs.d",
  "/etc/docker/certs.d",
  "/usr/share/containers/certs.rootful.d",
  "/usr/share/containers/certs.d",
];

/** The same with those of the user that the daemon runs as, which come first. */
export function certificateDirectories(
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  return [`${configHome(environment)}/containers/certs.d`, ...CERTIFICATE_DIRECTORIES];
}

/** Where distributions keep the bundle of all trusted authorities; the first that exists is taken, as Go does. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/**
 * The system's authorities as one PEM text, or undefined where the host has none (then the built-in list counts).
 *
 * @param file SSL_CERT_FILE, in place of the known places
 */
export async function systemAuthorities(file?: string): Promise<string | undefined> {
  for (const path of file === undefined || file === "" ? SYSTEM_BUNDLES : [file]) {
    const text = await textIfThere(path);
    if (text !== undefined && text.includes("BEGIN CERTIFICATE")) return text;
  }
  return undefined;
}

/** Where a registry's API is: Docker Hub has it on another host than its name says. */
export function apiHost(registry: string): string {
  return registry === "docker.io" ? "registry-1.docker.io" : registry;
}

/**
 * `*.crt` are authorities, `*.cert` with a `*.key` of the same name is the client's certificate.
 *
 * @param hosts names of one host, `host[:port]`; the first directory that exists counts
 * @throws FailedPreconditionError for a certificate without its key, or the reverse, or an unreadable file
 */
export async function hostCertificates(
  hosts: readonly string[],
  options: { readonly directories?: readonly string[] } = {},
): Promise<HostCertificates> {
  const { directories = CERTIFICATE_DIRECTORIES } = options;
  for (const parent of directories) {
    for (const host of hosts) {
      if (host.includes("/") || host === "." || host === "..") continue;
      const names = await namesIn(`${parent}/${host}`);
      if (names !== undefined) return await readAll(`${parent}/${host}`, names);
    }
  }
  return { authorities: [] };
}

async function readAll(directory: string, names: readonly string[]): Promise<HostCertificates> {
  const authorities: string[] = [];
  let client: HostCertificates["client"];
  for (const name of names) {
    if (name.endsWith(".crt")) authorities.push(await text(`${directory}/${name}`));
    if (name.endsWith(".cert")) {
      const keyName = `${name.slice(0, -".cert".length)}.key`;
      if (!names.includes(keyName)) {
        throw new FailedPreconditionError(`${directory}/${name} has no ${keyName} beside it`);
      }
      client ??= { cert: await text(`${directory}/${name}`), key: await text(`${directory}/${keyName}`) };
    }
    if (name.endsWith(".key") && !names.includes(`${name.slice(0, -".key".length)}.cert`)) {
      throw new FailedPreconditionError(`${directory}/${name} has no certificate (.cert) beside it`);
    }
  }
  return client === undefined ? { authorities } : { authorities, client };
}

async function namesIn(directory: string): Promise<readonly string[] | undefined> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(directory)) {
      // A link that leads nowhere is passed over, as containers/image does.
      if ((await Deno.stat(`${directory}/${name}`).catch(() => undefined))?.isFile === true) names.push(name);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new FailedPreconditionError(`read certificates in ${directory}: ${messageOf(error)}`, { cause: error });
  }
  return names.sort();
}

async function text(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new FailedPreconditionError(`read certificate ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function textIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    // The next place may have it; where none has, the built-in authorities count.
    return undefined;
  }
}
