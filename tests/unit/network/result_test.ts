import assert from "node:assert/strict";
import fc from "fast-check";
import { parseResult, podAddresses } from "../../../src/network/result.ts";

Deno.test("parseResult() reads version 1.x", () => {
  const raw = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "cni0", mac: "aa" }, { name: "eth0", mac: "bb", sandbox: "/run/netns/x", mtu: 1400 }],
    ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1", interface: 1 }, { address: "fd00::3/64", interface: 1 }],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::1", mtu: 1 }],
    dns: { nameservers: ["10.0.0.10"], search: ["a"], domain: "d", options: ["ndots:5"] },
  };
  const { raw: _raw, ...result } = parseResult(raw, "0.4.0");
  assert.deepEqual(result, {
    cniVersion: "1.1.0",
    addresses: [
      { address: "10.1.2.3", prefixLength: 24, gateway: "10.1.2.1", interfaceIndex: 1 },
      { address: "fd00::3", prefixLength: 64, interfaceIndex: 1 },
    ],
    interfaces: [{ name: "cni0", mac: "aa" }, { name: "eth0", mac: "bb", sandbox: "/run/netns/x", mtu: 1400 }],
    routes: [{ destination: "0.0.0.0/0" }, { destination: "::/0", gateway: "fd00::1" }],
    dns: { nameservers: ["10.0.0.10"], domain: "d", search: ["a"], options: ["ndots:5"] },
  });
});

Deno.test("parseResult() reads 0.3.x and 0.2.0, and takes the version of the configuration", () => {
  const old = parseResult({ ips: [{ version: "4", address: "10.0.0.2/8" }], dns: {} }, "0.3.1");
  assert.deepEqual([old.cniVersion, podAddresses(old)], ["0.3.1", ["10.0.0.2"]]);
  const oldest = parseResult({
    ip4: { ip: "10.0.0.2/8", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0" }] },
    ip6: { ip: "fd00::2/64" },
  }, "0.2.0");
  assert.deepEqual(podAddresses(oldest), ["10.0.0.2", "fd00::2"]);
  assert.deepEqual(oldest.routes, [{ destination: "0.0.0.0/0" }]);
  assert.deepEqual(podAddresses(parseResult({}, "1.0.0")), []);
});

Deno.test("podAddresses() keeps the order and leaves out the node's side unless that is all", () => {
  const interfaces = [{ name: "veth1" }, { name: "eth0", sandbox: "/x" }];
  const mixed = {
    interfaces,
    ips: [{ address: "10.0.0.1/8", interface: 0 }, { address: "fd00::2/64", interface: 1 }, {
      address: "10.0.0.2/8",
      interface: 1,
    }, { address: "10.0.0.2/8" }],
  };
  assert.deepEqual(podAddresses(parseResult(mixed, "1.0.0")), ["fd00::2", "10.0.0.2"]);
  const outside = { interfaces, ips: [{ address: "10.0.0.1/8", interface: 0 }] };
  assert.deepEqual(podAddresses(parseResult(outside, "1.0.0")), ["10.0.0.1"]);
});

Deno.test("parseResult() refuses what is no address", () => {
  for (
    const address of [
      "10.0.0.1",
      "10.0.0.1/33",
      "fd00::1/129",
      "x/24",
      "10.0.0.1/24/1",
      "10.0.0.1/-1",
      "10.0.0.1/1e1",
      "",
      7,
      null,
    ]
  ) {
    assert.throws(() => parseResult({ ips: [{ address }] }, "1.0.0"), RangeError, String(address));
  }
  assert.throws(() => parseResult({ ips: ["10.0.0.1/24"] }, "1.0.0"), RangeError);
});

Deno.test("parseResult() throws nothing but RangeError", () => {
  const keys = fc.constantFrom("ips", "interfaces", "routes", "dns", "ip4", "address", "interface", "dst");
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ maxDepth: 3 }, fc.jsonValue(), fc.array(tie("any")), fc.dictionary(keys, tie("any"))),
  })).any;
  fc.assert(fc.property(fc.dictionary(keys, value), (raw) => {
    try {
      podAddresses(parseResult(raw, "1.0.0"));
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
    }
  }));
});
