import { deepEqual, equal, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { systemClock } from "../../../src/base/clock.ts";
import { pinNamespaces, unpinNamespace } from "../../../src/linux/namespaces.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { InterfaceStatsReader, parseInterfaces } from "../../../src/network/interface_stats.ts";

openLibraries();

const HEADER = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
`;

Deno.test("parseInterfaces() reads all but lo", () => {
  const text =
    `${HEADER}    lo: 4112343706  104153    0    0    0     0          0         0 4112343706  104153    0    0    0     0       0          0
  eth0: 408145203   16227    3    4    0     0          0         9  1101562   11385    5    6    0     0       0          0
eth0:1:       1       2    0    0    0     0          0         0        3       4    0    0    0     0       0          0
`;
  deepEqual(parseInterfaces(text), [
    {
      name: "eth0",
      rxBytes: 408145203,
      rxPackets: 16227,
      rxErrors: 3,
      rxDropped: 4,
      txBytes: 1101562,
      txPackets: 11385,
      txErrors: 5,
      txDropped: 6,
    },
    {
      name: "eth0:1",
      rxBytes: 1,
      rxPackets: 2,
      rxErrors: 0,
      rxDropped: 0,
      txBytes: 3,
      txPackets: 4,
      txErrors: 0,
      txDropped: 0,
    },
  ]);
});

Deno.test("parseInterfaces() leaves out lines that are none", () => {
  deepEqual(parseInterfaces(""), []);
  deepEqual(
    parseInterfaces(`${HEADER}eth0: 1 2 3\nno colon\n: 1 2 3 4 5 6 7 8 9 10 11 12\neth1: ${"x ".repeat(16)}\n`),
    [],
  );
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseInterfaces(HEADER + text))));
});

Deno.test("InterfaceStatsReader looks inside the namespace, and finds none without one", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-stats-" });
  const { network = "" } = pinNamespaces({ directory, name: "pod", kinds: ["network"] });
  try {
    const stats = await new InterfaceStatsReader(systemClock).read(network);
    assert(stats !== undefined && stats.atNanos > 0n);
    // A new namespace has lo, and on some kernels fallback tunnels that never carried anything.
    equal(stats.interfaces.reduce((sum, { rxBytes }) => sum + rxBytes, 0), 0);
    assert(!stats.interfaces.some(({ name }) => name === "eth0"));
  } finally {
    unpinNamespace(network);
    await Deno.writeTextFile(`${directory}/plain`, "");
    const reader = new InterfaceStatsReader(systemClock);
    equal(await reader.read(network), undefined);
    equal(await reader.read(`${directory}/plain`), undefined);
    await Deno.remove(directory, { recursive: true });
  }
});
