import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import { bandwidthLimits } from "../../../src/network/bandwidth.ts";
import { capabilityArgs, HOST_PORTS_KEY, podArgs, runtimeConfig } from "../../../src/network/capability_args.ts";

const POD = { sandboxId: "id", netnsPath: "/x", name: "p", namespace: "n", uid: "u" };

Deno.test("podArgs() names the pod and refuses separators in a value", () => {
  const text = podArgs(POD).map(([name, value]) => `${name}=${value}`).join(";");
  assert.equal(
    text,
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=id;K8S_POD_UID=u",
  );
  for (const name of ["p;IP=10.0.0.1", "a=b", "a\nb"]) {
    assert.throws(() => podArgs({ ...POD, name }), InvalidArgumentError);
  }
});

Deno.test("capabilityArgs() has only what the pod asked for", () => {
  assert.deepEqual(capabilityArgs(POD), {});
  const port = { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" } as const;
  const args = capabilityArgs({
    ...POD,
    portMappings: [port, { ...port, hostPort: 0 }, { ...port, hostIp: "127.0.0.1" }, { ...port, hostIp: "0.0.0.0" }],
    annotations: { "kubernetes.io/ingress-bandwidth": "10M", other: "x" },
    cgroupParent: "kubepods/x",
    aliases: ["web"],
    dns: { servers: ["10.0.0.10"], searches: [], options: [] },
  });
  const plain = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
  assert.deepEqual(args, {
    [HOST_PORTS_KEY]: [port, { ...port, hostIp: "127.0.0.1" }, { ...port, hostIp: "0.0.0.0" }],
    portMappings: [plain, { ...plain, hostIP: "127.0.0.1" }, plain],
    bandwidth: { ingressRate: 10_000_000, ingressBurst: 34359738359 },
    cgroupPath: "kubepods/x",
    aliases: ["web"],
    dns: { servers: ["10.0.0.10"], searches: [], options: [] },
    "io.kubernetes.cri.pod-annotations": { "kubernetes.io/ingress-bandwidth": "10M", other: "x" },
  });
});

Deno.test("bandwidthLimits() reads Kubernetes quantities and refuses what is no rate", () => {
  const ingress = (text: string): number | undefined =>
    bandwidthLimits({ "kubernetes.io/ingress-bandwidth": text }).ingressBitsPerSecond;
  const good = {
    "1k": 1000,
    "1000": 1000,
    "1.5M": 1_500_000,
    "1Ki": 1024,
    "2Gi": 2 ** 31,
    "1e6": 1e6,
    "1P": 1e15,
    "2000000m": 2000,
  };
  for (const [text, bits] of Object.entries(good)) assert.equal(ingress(text), bits, text);
  for (const text of ["", "0", "-1M", "999", "1E", "1e16", "10MB", "M", "1 M", "1e999", ".", "0x10000"]) {
    assert.throws(() => ingress(text), InvalidArgumentError, text);
  }
  assert.deepEqual(bandwidthLimits({ "kubernetes.io/egress-bandwidth": "1M" }), { egressBitsPerSecond: 1_000_000 });
  assert.deepEqual(bandwidthLimits({}), {});
});

Deno.test("runtimeConfig() gives a plugin the capabilities that it declares", () => {
  const plugin = { type: "x", capabilities: ["portMappings", "mac"], raw: {} };
  assert.deepEqual(runtimeConfig(plugin, { portMappings: [], bandwidth: {} }), { portMappings: [] });
  assert.equal(runtimeConfig(plugin, { bandwidth: {} }), undefined);
});
