import { createHash } from "node:crypto";
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import { KeyedMutex } from "../../base/keyed_mutex.ts";
import type { Logger } from "../../base/logger.ts";
import { CommandError, commandResult } from "../../linux/command.ts";
import type { RunCommand } from "../plugin_runner.ts";
import type { CniInterface } from "../types.ts";
import { type Forward, nodeSideOf } from "./forwards.ts";
import { type ChainNames, chainNames, iptablesTransaction } from "./iptables.ts";
import { nftTransaction } from "./nft.ts";

export interface HostPortsOptions {
  /** Keeps the rules of two daemons on one node apart; empty for the usual one. */
  readonly instance: string;
  readonly logger: Logger;
}

export interface HostPortsDeps {
  readonly run?: RunCommand;
  /** Sets one of the node's sysctls, by its path below /proc/sys. */
  readonly setSysctl?: (path: string, value: string) => Promise<void>;
}

/** Programs that can hold the rules, in the order in which they are tried. */
const BACKENDS = ["nft", "iptables", "iptables-legacy"] as const;
type Backend = (typeof BACKENDS)[number];

/** For xtables.lock, which others may hold for long. */
const LOCK_WAIT_S = "30";
const CHANGE_LIMIT_MS = 60_000;

/**
 * Ports of the node that lead to pods, as rules of nftables or iptables.
 *
 * The whole wish is kept here and put into the kernel in one transaction at each change; so what somebody else flushed
 * comes back with the next change, and what a former process left goes at the start. Changes that come while one
 * runs are put in together by the next one.
 */
export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #run: RunCommand;
  readonly #setSysctl: (path: string, value: string) => Promise<void>;
  readonly #pods = new Map<string, readonly Forward[]>();
  readonly #lock = new KeyedMutex<"rules">();
  #backend: Backend | undefined;
  #problem = "the host ports were not started";
  /** Whether the kernel may hold rules of ours for IPv6; at the start nobody knows. */
  #mayHoldIpv6 = true;
  /** Counts wishes, and those that the kernel has. */
  #wished = 0;
  #applied = 0;

  constructor(options: HostPortsOptions, deps: HostPortsDeps = {}) {
    this.#options = options;
    this.#run = deps.run ?? commandResult;
    this.#setSysctl = deps.setSysctl ??
      ((path, value): Promise<void> => Deno.writeTextFile(`/proc/sys/${path}`, value));
  }

  /**
   * Chooses the program by letting it set the forwards that are to stay: the first one that can does everything from
   * now on. Nothing is thrown where none can: only pods with host ports are refused then.
   */
  async start(pods: Iterable<readonly [sandboxId: string, forwards: readonly Forward[]]>): Promise<void> {
    using _lock = await this.#lock.acquire("rules");
    for (const [id, forwards] of pods) if (!this.#pods.has(id)) this.#pods.set(id, forwards);
    const problems: string[] = [];
    for (const backend of BACKENDS) {
      try {
        const wish = this.#wished;
        await this.#put(backend);
        this.#applied = wish;
        this.#backend = backend;
        this.#options.logger.info("host ports are mapped by", { program: backend });
        return;
      } catch (error) {
        problems.push(`${backend}: ${messageOf(error)}`);
      }
    }
    this.#problem = problems.join("; ");
    this.#options.logger.warn(`pods with host ports will be refused: install nftables or iptables (${this.#problem})`);
  }

  /**
   * Maps a pod's ports; idempotent for the same pod.
   *
   * @param options.interfaces of the ADD's result: those on the node's side must route 127.0.0.1 for IPv4 ports
   * @throws FailedPreconditionError where no program can set rules, or when another pod has one of the ports;
   *   CommandError when the program fails
   */
  async add(
    sandboxId: string,
    forwards: readonly Forward[],
    options: { readonly interfaces: readonly CniInterface[] },
  ): Promise<void> {
    if (forwards.length === 0) return;
    this.#refuseTaken(sandboxId, forwards);
    this.#pods.set(sandboxId, forwards);
    try {
      if (forwards.some(reachesLoopback)) await this.#routeLocalnet(options.interfaces);
      await this.#change();
      await this.#forgetFlows(forwards);
    } catch (error) {
      this.#pods.delete(sandboxId);
      throw error;
    }
  }

  /** Closes a pod's ports; succeeds when it has none. @throws CommandError */
  async remove(sandboxId: string): Promise<void> {
    const forwards = this.#pods.get(sandboxId);
    if (forwards === undefined) return;
    this.#pods.delete(sandboxId);
    try {
      await this.#change();
    } catch (error) {
      this.#pods.set(sandboxId, forwards);
      throw error;
    }
    await this.#forgetFlows(forwards);
  }

  #refuseTaken(sandboxId: string, forwards: readonly Forward[]): void {
    const wanted = new Set(forwards.map(nodeSideOf));
    for (const [other, theirs] of this.#pods) {
      const taken = other === sandboxId ? undefined : theirs.map(nodeSideOf).find((side) => wanted.has(side));
      if (taken === undefined) continue;
      throw new FailedPreconditionError(
        `host port ${taken} leads to pod sandbox ${other} already: stop that pod, or choose another port`,
      );
    }
  }

  /** One transaction serves all who wished before it began. */
  async #change(): Promise<void> {
    const wish = ++this.#wished;
    using _lock = await this.#lock.acquire("rules");
    if (this.#applied >= wish) return;
    if (this.#backend === undefined) {
      throw new FailedPreconditionError(`host ports cannot be mapped: install nftables or iptables (${this.#problem})`);
    }
    const serves = this.#wished;
    await this.#put(this.#backend);
    this.#applied = serves;
  }

  async #put(backend: Backend): Promise<void> {
    const forwards = [...this.#pods.values()].flat();
    const { instance } = this.#options;
    const suffix = instance === "" ? "" : `-${createHash("sha256").update(instance).digest("hex").slice(0, 8)}`;
    if (backend === "nft") {
      await this.#command(["nft", "-f", "-"], nftTransaction(`crio-hostports${suffix}`, forwards));
      return;
    }
    const names = chainNames(suffix);
    await this.#restore(backend, { family: 4, names, forwards });
    const needsIpv6 = forwards.some(({ family }) => family === 6);
    if (!needsIpv6 && !this.#mayHoldIpv6) return;
    const six = this.#restore(backend.replace("ip", "ip6"), { family: 6, names, forwards });
    // A node without IPv6 has nothing to take away.
    await (needsIpv6 ? six : six.catch(() => undefined));
    this.#mayHoldIpv6 = needsIpv6;
  }

  async #restore(
    program: string,
    { names, forwards, family }: { names: ChainNames; forwards: readonly Forward[]; family: 4 | 6 },
  ): Promise<void> {
    const present = await this.#command([`${program}-save`]);
    const text = iptablesTransaction(names, forwards, { family, present });
    if (text !== undefined) await this.#command([`${program}-restore`, "--noflush", "-w", LOCK_WAIT_S], text);
  }

  async #command(argv: readonly string[], stdin?: string): Promise<string> {
    const result = await this.#run(["/usr/bin/env", ...argv], {
      signal: AbortSignal.timeout(CHANGE_LIMIT_MS),
      ...(stdin === undefined ? {} : { stdin }),
    });
    if (result.exitCode !== 0) throw new CommandError(argv, result);
    return new TextDecoder().decode(result.stdout);
  }

  /** Lets packets from 127.0.0.1 leave through the pods' interfaces on the node; the guard rules go with it. */
  async #routeLocalnet(interfaces: readonly CniInterface[]): Promise<void> {
    for (const { name, sandbox } of interfaces) {
      if (sandbox !== undefined || !/^[^/\s]{1,15}$/.test(name) || /^\.+$/.test(name)) continue;
      try {
        await this.#setSysctl(`net/ipv4/conf/${name}/route_localnet`, "1");
      } catch (error) {
        this.#options.logger.warn("host ports will not answer on 127.0.0.1", {
          interface: name,
          error: messageOf(error),
        });
      }
    }
  }

  /** A UDP flow that began before would keep its old way for as long as packets come. Without conntrack(8) it does. */
  async #forgetFlows(forwards: readonly Forward[]): Promise<void> {
    for (const { protocol, hostPort, family } of forwards) {
      if (protocol !== "udp") continue;
      const argv = ["conntrack", "-D", "-f", `ipv${family}`, "-p", "udp", "--orig-port-dst", String(hostPort)];
      await this.#command(argv).catch(() => undefined); // Fails when there is no such flow, too.
    }
  }
}

function reachesLoopback({ family, hostAddress }: Forward): boolean {
  return family === 4 && (hostAddress === undefined || hostAddress.startsWith("127."));
}
