import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { CachedAttachment } from "../attachment_cache.ts";
import { HOST_PORTS_KEY, wantsCapability } from "../capability_args.ts";
import { parseResult, podAddresses } from "../result.ts";
import type { Attachment, CniResult, NetworkConfig, PortMapping } from "../types.ts";
import { type Forward, forwardsOf } from "./forwards.ts";
import type { HostPorts } from "./host_ports.ts";

/** The host ports of pods whose network has no plugin for them; what they are stands in the attachment cache. */
export class PodPorts {
  #ready: Promise<void> = Promise.resolve();

  /** @param hostPorts absent: host ports are left to the network's plugins */
  constructor(private readonly hostPorts: HostPorts | undefined, private readonly logger: Logger) {}

  /** Settles when the ports of former pods are set; never rejects. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  /** In the background: a program that waits for a lock must not hold the daemon up. */
  start(entries: () => Promise<readonly CachedAttachment[]>): void {
    this.#ready = this.#start(entries).catch((error) => {
      this.logger.error("host ports of running pods cannot be restored", { error: messageOf(error) });
    });
  }

  async #start(entries: () => Promise<readonly CachedAttachment[]>): Promise<void> {
    if (this.hostPorts === undefined) return;
    const known = (await entries()).map((entry) => [entry.attachment.containerId, forwardsOfEntry(entry)] as const);
    await this.hostPorts.start(known.filter(([, forwards]) => forwards.length > 0));
  }

  /** @throws FailedPreconditionError, CommandError when they cannot be mapped */
  async open(network: NetworkConfig, attachment: Attachment, result: CniResult): Promise<void> {
    const forwards = wantedForwards(network, attachment, result);
    if (forwards.length === 0) return;
    const sandbox = attachment.containerId;
    if (this.hostPorts === undefined) {
      this.logger.warn("host ports are not mapped: disable_hostport_mapping is set", { sandbox });
      return;
    }
    await this.#ready;
    await this.hostPorts.add(sandbox, forwards, result);
  }

  /** Succeeds when the pod has none. @throws CommandError */
  async close(sandboxId: string): Promise<void> {
    await this.#ready;
    await this.hostPorts?.remove(sandboxId);
  }
}

function wantedForwards(network: NetworkConfig, { capabilityArgs }: Attachment, result: CniResult): Forward[] {
  const mappings = capabilityArgs[HOST_PORTS_KEY];
  if (!Array.isArray(mappings) || wantsCapability(network, "portMappings")) return [];
  return forwardsOf(mappings as readonly PortMapping[], podAddresses(result));
}

/** A damaged entry has no ports: the pod it stands for is reported elsewhere. */
function forwardsOfEntry({ network, attachment, result }: CachedAttachment): Forward[] {
  if (result === undefined) return [];
  try {
    return wantedForwards(network, attachment, parseResult(result, network.cniVersion));
  } catch {
    return [];
  }
}
