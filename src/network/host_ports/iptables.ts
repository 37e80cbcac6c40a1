import type { Forward } from "./forwards.ts";

/** Names of our chains, at most 28 characters each. */
export interface ChainNames {
  readonly forwards: string;
  readonly masquerade: string;
  readonly guard: string;
}

/** `suffix` keeps the chains of two daemons on one node apart; empty or at most nine characters. */
export function chainNames(suffix: string): ChainNames {
  return { forwards: `CRIO-HOSTPORTS${suffix}`, masquerade: `CRIO-MASQ${suffix}`, guard: `CRIO-LOCALNET${suffix}` };
}

/** The rules in the built-in chains that lead to ours, as `iptables -S` prints them. */
function jumps(names: ChainNames, family: 4 | 6): Array<{ table: "nat" | "filter"; chain: string; rule: string }> {
  const local = `-m addrtype --dst-type LOCAL -j ${names.forwards}`;
  return [
    { table: "nat", chain: "PREROUTING", rule: local },
    { table: "nat", chain: "OUTPUT", rule: local },
    { table: "nat", chain: "POSTROUTING", rule: `-m conntrack --ctstate DNAT -j ${names.masquerade}` },
    ...(family === 4
      ? [{ table: "filter" as const, chain: "INPUT", rule: `-d 127.0.0.0/8 ! -i lo -j ${names.guard}` }]
      : []),
  ];
}

/**
 * Input of `iptables-restore --noflush` that replaces the rules in our chains by those of these forwards of one family;
 * without any, our chains go.
 *
 * @param present what `iptables-save` printed: tells which of our jumps are there
 * @returns undefined when there is nothing of ours and nothing to make
 */
export function iptablesTransaction(
  names: ChainNames,
  forwards: readonly Forward[],
  { family, present }: { readonly family: 4 | 6; readonly present: string },
): string | undefined {
  const own = forwards.filter((one) => one.family === family);
  const has = (table: string, line: string): boolean => sectionOf(present, table).includes(line);
  const anyOfOurs = Object.values(names).some((name) => present.includes(`:${name} `));
  if (own.length === 0 && !anyOfOurs) return undefined;
  const section = (table: "nat" | "filter"): string => {
    const chains = table === "nat" ? [names.forwards, names.masquerade] : family === 4 ? [names.guard] : [];
    if (chains.length === 0) return "";
    const lines = chains.map((chain) => `:${chain} - [0:0]`);
    for (const jump of jumps(names, family).filter((one) => one.table === table)) {
      const isThere = has(table, `-A ${jump.chain} ${jump.rule}`);
      if (own.length > 0 && !isThere) lines.push(`-I ${jump.chain} ${jump.rule}`);
      if (own.length === 0 && isThere) lines.push(`-D ${jump.chain} ${jump.rule}`);
    }
    if (own.length === 0) lines.push(...chains.map((chain) => `-X ${chain}`));
    else lines.push(...(table === "nat" ? natRules(names, own, family) : guardRules(names)));
    return `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
  };
  return section("nat") + section("filter");
}

/** Rules for one address of the node come first: they are the narrower ones. */
function natRules(names: ChainNames, forwards: readonly Forward[], family: 4 | 6): string[] {
  const narrow = forwards.filter(({ hostAddress }) => hostAddress !== undefined);
  const wide = forwards.filter(({ hostAddress }) => hostAddress === undefined);
  const bits = family === 4 ? 32 : 128;
  const dnat = [...narrow, ...wide].map(({ protocol, hostPort, hostAddress, podAddress, podPort }) => {
    const to = family === 4 ? `${podAddress}:${podPort}` : `[${podAddress}]:${podPort}`;
    const where = hostAddress === undefined ? "" : `-d ${hostAddress}/${bits} `;
    return `-A ${names.forwards} ${where}-p ${protocol} -m ${protocol} --dport ${hostPort} -j DNAT --to-destination ${to}`;
  });
  const masquerade = [...new Set(forwards.map(({ podAddress }) => podAddress))].flatMap((pod) => [
    `-A ${names.masquerade} -s ${pod}/${bits} -d ${pod}/${bits} -j MASQUERADE`,
    ...(family === 4 ? [`-A ${names.masquerade} -s 127.0.0.0/8 -d ${pod}/${bits} -j MASQUERADE`] : []),
  ]);
  return [...dnat, ...masquerade];
}

/** Keeps pods from the node's loopback addresses, which `route_localnet` would let them reach. */
function guardRules(names: ChainNames): string[] {
  return [`-A ${names.guard} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`];
}

function sectionOf(saved: string, table: string): readonly string[] {
  const lines = saved.split("\n");
  const from = lines.indexOf(`*${table}`);
  if (from < 0) return [];
  const to = lines.indexOf("COMMIT", from);
  return lines.slice(from, to < 0 ? undefined : to);
}
