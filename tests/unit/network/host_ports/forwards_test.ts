import assert from "node:assert/strict";
import { type Forward, forwardsOf, nodeSideOf } from "../../../../src/network/host_ports/forwards.ts";

const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" } as const;
const DUAL = ["10.0.0.2", "fd00::2", "10.0.0.3"];
const four: Forward = { family: 4, protocol: "tcp", hostPort: 8080, podAddress: "10.0.0.2", podPort: 80 };
const six: Forward = { ...four, family: 6, podAddress: "fd00::2" };

for (
  const [what, hostIp, addresses, expected] of [
    ["no address maps both families, the first address of each", "", DUAL, [four, six]],
    ["a pod of one family gets that one", "", ["fd00::2"], [six]],
    ["0.0.0.0 maps IPv4 alone", "0.0.0.0", DUAL, [four]],
    [":: maps IPv6 alone", "::", DUAL, [six]],
    ["the long form of :: as well", "0:0:0:0:0:0:0:0", DUAL, [six]],
    ["an address stays one", "192.0.2.1", DUAL, [{ ...four, hostAddress: "192.0.2.1" }]],
    ["an address of a family that the pod lacks maps nothing", "192.0.2.1", ["fd00::2"], []],
    ["a pod without address gets nothing", "", [], []],
  ] as const
) {
  Deno.test(`forwardsOf(): ${what}`, () => {
    assert.deepEqual(forwardsOf([{ ...mapping, hostIp }], addresses), expected);
  });
}

Deno.test("forwardsOf() leaves out mappings without a host port", () => {
  assert.deepEqual(forwardsOf([{ ...mapping, hostPort: 0 }], DUAL), []);
});

Deno.test("nodeSideOf() tells families, protocols and addresses apart", () => {
  const sides = [four, six, { ...four, protocol: "udp" as const }, { ...four, hostAddress: "192.0.2.1" }].map(
    nodeSideOf,
  );
  assert.deepEqual(sides, ["tcp 8080", "tcp 8080 (IPv6)", "udp 8080", "tcp 8080 on 192.0.2.1"]);
});
