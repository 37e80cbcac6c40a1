import { deepEqual, equal } from "node:assert/strict";
import { sandboxUsage } from "../../../../src/cri/convert/stats.ts";
import type { InterfaceStats } from "../../../../src/network/interface_stats.ts";
import type { SandboxStats } from "../../../../src/sandbox/stats.ts";

function one(name: string, bytes: number): InterfaceStats {
  const none = { rxPackets: 0, rxErrors: 0, rxDropped: 0, txPackets: 0, txErrors: 0, txDropped: 0 };
  return { name, rxBytes: bytes, txBytes: bytes, ...none };
}

function networkOf(interfaces: readonly InterfaceStats[]): ReturnType<typeof sandboxUsage>["network"] {
  return sandboxUsage({ network: { atNanos: 7n, interfaces }, containers: [] } as unknown as SandboxStats).network;
}

Deno.test("sandboxUsage() tells the default interface apart from the others", () => {
  const network = networkOf([one("net1", 1), one("eth0", 2)]);
  deepEqual([network?.timestamp, network?.defaultInterface?.name, network?.defaultInterface?.rxBytes?.value], [
    7n,
    "eth0",
    2n,
  ]);
  deepEqual(network?.interfaces.map(({ name }) => name), ["net1"]);
  equal(networkOf([one("net1", 1)])?.defaultInterface?.name, "net1");
});

Deno.test("sandboxUsage() gives no network for a pod that has lost its interfaces: kubelets die of one without default", () => {
  equal(networkOf([]), undefined);
});
