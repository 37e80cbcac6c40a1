import { isIP } from "node:net";
import type { PortMapping } from "../types.ts";

/** One port of the node that leads to a pod. */
export interface Forward {
  readonly family: 4 | 6;
  readonly protocol: PortMapping["protocol"];
  readonly hostPort: number;
  /** Absent: every address of the node in this family. */
  readonly hostAddress?: string;
  readonly podAddress: string;
  readonly podPort: number;
}

const UNSPECIFIED_4 = "0.0.0.0";
const UNSPECIFIED_6 = /^(::|(0{1,4}:){7}0{1,4})$/;

/**
 * The ports of the node that a pod with these addresses gets: for each mapping, the pod's first address of each family
 * that the mapping's address allows (empty: both; `0.0.0.0` and `::`: all of that family).
 */
export function forwardsOf(mappings: readonly PortMapping[], podAddresses: readonly string[]): Forward[] {
  const first = (family: 4 | 6): string | undefined => podAddresses.find((address) => isIP(address) === family);
  const families = [{ family: 4 as const, address: first(4) }, { family: 6 as const, address: first(6) }];
  return mappings.filter(({ hostPort }) => hostPort > 0).flatMap((mapping) => {
    const { protocol, hostPort, containerPort, hostIp } = mapping;
    const wanted = isIP(hostIp);
    return families.flatMap(({ family, address }): Forward[] => {
      if (address === undefined || (wanted !== 0 && wanted !== family)) return [];
      const every = wanted === 0 || hostIp === UNSPECIFIED_4 || UNSPECIFIED_6.test(hostIp);
      return [{
        family,
        protocol,
        hostPort,
        ...(every ? {} : { hostAddress: hostIp }),
        podAddress: address,
        podPort: containerPort,
      }];
    });
  });
}

/** What can be taken only once on a node, for comparison and for messages: `tcp 8080`, `udp 53 on 192.0.2.1`. */
export function nodeSideOf({ protocol, hostPort, hostAddress, family }: Forward): string {
  const where = hostAddress === undefined ? (family === 6 ? " (IPv6)" : "") : ` on ${hostAddress}`;
  return `${protocol} ${hostPort}${where}`;
}
