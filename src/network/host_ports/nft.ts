import type { Forward } from "./forwards.ts";

/** Before what others do at dstnat (-100) and srcnat (100). */
const DNAT_PRIORITY = -110;
const SNAT_PRIORITY = 90;

/**
 * One transaction of nft(8) that replaces everything of ours by these forwards; without any, our table goes.
 *
 * Maps, not rules: the cost of a packet does not grow with the number of pods. A pod that reaches itself through the
 * node, and the node's own 127.0.0.1, need masquerading: the answer would take another way back. The guard keeps pods
 * from the node's loopback addresses, which `route_localnet` would let them reach.
 */
export function nftTransaction(table: string, forwards: readonly Forward[]): string {
  const clear = `add table inet ${table}\ndelete table inet ${table}\n`;
  if (forwards.length === 0) return clear;
  const elements = (family: 4 | 6, addressed: boolean): string => {
    const chosen = forwards.filter((one) => one.family === family && (one.hostAddress !== undefined) === addressed);
    const list = chosen.map((one) =>
      `${
        addressed ? `${one.hostAddress} . ` : ""
      }${one.protocol} . ${one.hostPort} : ${one.podAddress} . ${one.podPort}`
    );
    return list.length === 0 ? "" : `\n    elements = { ${list.join(", ")} }`;
  };
  const map = (name: string, key: string, { family, addressed }: { family: 4 | 6; addressed: boolean }): string =>
    `  map ${name} {\n    type ${key} : ipv${family}_addr . inet_service${elements(family, addressed)}\n  }\n`;
  const pods = (family: 4 | 6): string => {
    const addresses = new Set(forwards.filter((one) => one.family === family).map(({ podAddress }) => podAddress));
    const list = [...addresses].map((address) => `${address} . ${address}`);
    return list.length === 0 ? "" : `\n    elements = { ${list.join(", ")} }`;
  };
  return `${clear}table inet ${table} {
${map("any4", "inet_proto . inet_service", { family: 4, addressed: false })}${
    map("any6", "inet_proto . inet_service", { family: 6, addressed: false })
  }${map("at4", "ipv4_addr . inet_proto . inet_service", { family: 4, addressed: true })}${
    map("at6", "ipv6_addr . inet_proto . inet_service", { family: 6, addressed: true })
  }  set self4 {
    type ipv4_addr . ipv4_addr${pods(4)}
  }
  set self6 {
    type ipv6_addr . ipv6_addr${pods(6)}
  }
  chain forwards {
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @at4
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @any4
    meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6
  }
  chain prerouting {
    type nat hook prerouting priority ${DNAT_PRIORITY}; policy accept;
    fib daddr type local goto forwards
  }
  chain output {
    type nat hook output priority ${DNAT_PRIORITY}; policy accept;
    fib daddr type local goto forwards
  }
  chain postrouting {
    type nat hook postrouting priority ${SNAT_PRIORITY}; policy accept;
    ct status dnat ip saddr . ip daddr @self4 masquerade
    ct status dnat ip6 saddr . ip6 daddr @self6 masquerade
    ct status dnat ip saddr 127.0.0.0/8 oifname != "lo" masquerade
  }
  chain guard {
    type filter hook input priority filter; policy accept;
    iifname "lo" accept
    ip daddr 127.0.0.0/8 ct status dnat accept
    ip daddr 127.0.0.0/8 drop
  }
}
`;
}
