import { isIP } from "node:net";
import { asList, asObject, asText, asTexts } from "./_json.ts";
import type { CniAddress, CniInterface, CniResult, JsonObject } from "./types.ts";

/**
 * Reads the result of ADD in any format from 0.1.0 (`ip4`, `ip6`) to 1.1.0 (`ips` without a family).
 *
 * @param raw what the plugin printed
 * @param configVersion the network's version: that of a result which names none
 * @throws RangeError with the bad value for an address that is none
 */
export function parseResult(raw: JsonObject, configVersion: string): CniResult {
  const dns = asObject(raw["dns"]) ?? {};
  const domain = asText(dns["domain"]);
  const families = [asObject(raw["ip4"]), asObject(raw["ip6"])].filter((entry) => entry !== undefined);
  return {
    cniVersion: asText(raw["cniVersion"]) ?? configVersion,
    addresses: [
      ...asList(raw["ips"]).map((entry) => parseAddress(asObject(entry), "address")),
      ...families.map((entry) => parseAddress(entry, "ip")),
    ],
    interfaces: asList(raw["interfaces"]).map((entry) => parseInterface(asObject(entry) ?? {})),
    routes: [raw, ...families].flatMap((holder) => asList(holder["routes"])).flatMap(parseRoute),
    dns: {
      nameservers: asTexts(dns["nameservers"]),
      ...(domain === undefined ? {} : { domain }),
      search: asTexts(dns["search"]),
      options: asTexts(dns["options"]),
    },
    raw,
  };
}

/**
 * The pod's addresses without prefix, in the plugin's order: the first is the primary one. Addresses of interfaces on
 * the node's side are left out, unless there are no others.
 */
export function podAddresses(result: CniResult): string[] {
  const inside = result.addresses.filter(({ interfaceIndex }) =>
    interfaceIndex === undefined || result.interfaces[interfaceIndex]?.sandbox !== undefined
  );
  const chosen = inside.length > 0 ? inside : result.addresses;
  return [...new Set(chosen.map(({ address }) => address))];
}

function parseAddress(entry: JsonObject | undefined, key: string): CniAddress {
  const text = asText(entry?.[key]) ?? "";
  const [address = "", prefix = "", ...more] = text.split("/");
  const family = isIP(address);
  const prefixLength = /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (family === 0 || more.length > 0 || prefixLength < 0 || prefixLength > (family === 4 ? 32 : 128)) {
    throw new RangeError(`${JSON.stringify(text.slice(0, 100))} is not an address with prefix length`);
  }
  const gateway = asText(entry?.["gateway"]);
  const index = entry?.["interface"];
  return {
    address,
    prefixLength,
    ...(gateway === undefined ? {} : { gateway }),
    ...(typeof index === "number" && Number.isInteger(index) && index >= 0 ? { interfaceIndex: index } : {}),
  };
}

function parseInterface(entry: JsonObject): CniInterface {
  const [mac, sandbox, mtu] = [asText(entry["mac"]), asText(entry["sandbox"]), entry["mtu"]];
  return {
    name: asText(entry["name"]) ?? "",
    ...(mac === undefined ? {} : { mac }),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(typeof mtu === "number" ? { mtu } : {}),
  };
}

function parseRoute(value: unknown): Array<{ destination: string; gateway?: string }> {
  const entry = asObject(value);
  const destination = asText(entry?.["dst"]);
  if (destination === undefined) return [];
  const gateway = asText(entry?.["gw"]);
  return [{ destination, ...(gateway === undefined ? {} : { gateway }) }];
}
