import { InvalidArgumentError } from "../base/errors.ts";
import { rootOwner } from "../base/id_maps.ts";
import type { DnsConfig, SandboxRecord, SandboxSpec } from "./types.ts";

/** The files of a pod that its containers see. */
export interface PodFiles {
  readonly resolvConf: string;
  readonly hostnameFile: string;
  readonly hostsFile: string;
}

const MAX_SEARCHES = 32;

/** Where a pod's files lie below its run directory; a pod on the node's network uses the node's hosts file. */
export function podFiles(directory: string, spec: SandboxSpec): PodFiles {
  const hostNetwork = spec.security.namespaces.network === "node";
  return {
    resolvConf: `${directory}/resolv.conf`,
    hostnameFile: `${directory}/hostname`,
    hostsFile: hostNetwork ? "/etc/hosts" : `${directory}/hosts`,
  };
}

/** Writes resolv.conf and hostname; the hosts file follows when the addresses are known. */
export async function writePodFiles(
  files: PodFiles,
  pod: Pick<SandboxRecord, "spec" | "hostname" | "userMaps">,
): Promise<void> {
  const { dns } = pod.spec;
  const resolv = dns === undefined ? await Deno.readTextFile("/etc/resolv.conf").catch(() => "") : resolvConf(dns);
  await Promise.all([
    writePodFile(files.resolvConf, resolv, pod),
    writePodFile(files.hostnameFile, `${pod.hostname}\n`, pod),
  ]);
}

/** Writes a file that belongs to root as the pod's containers know it. */
export async function writePodFile(
  path: string,
  text: string,
  { userMaps }: Pick<SandboxRecord, "userMaps">,
): Promise<void> {
  await Deno.writeTextFile(path, text, { mode: 0o644 });
  const { uid, gid } = rootOwner(userMaps);
  if (uid !== 0 || gid !== 0) await Deno.chown(path, uid, gid);
}

/** The hosts file of a pod with its own network. The kubelet mounts one of its own over it. */
export function hostsText(hostname: string, ips: readonly string[]): string {
  const names = ips.map((ip) => `${ip}\t${hostname}\n`).join("");
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${names}`;
}

/**
 * resolv.conf(5) text of a pod's DNS settings.
 *
 * @throws InvalidArgumentError for values that would break out of their line
 */
export function resolvConf(dns: DnsConfig): string {
  for (const value of [...dns.servers, ...dns.searches, ...dns.options]) {
    if (/[\s\0]/.test(value)) throw new InvalidArgumentError(`dns value ${JSON.stringify(value)} has white space`);
  }
  if (dns.searches.length > MAX_SEARCHES) {
    throw new InvalidArgumentError(
      `dns config has ${dns.searches.length} search domains; the limit is ${MAX_SEARCHES}`,
    );
  }
  const search = dns.searches.length > 0 ? `search ${dns.searches.join(" ")}\n` : "";
  const servers = dns.servers.map((server) => `nameserver ${server}\n`).join("");
  const options = dns.options.length > 0 ? `options ${dns.options.join(" ")}\n` : "";
  return search + servers + options;
}
