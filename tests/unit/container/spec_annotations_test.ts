import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type SpecAnnotationInput, specAnnotations } from "../../../src/container/spec_annotations.ts";
import type { PodContext } from "../../../src/container/ports.ts";
import { containerRecord, containerSpec } from "../../fakes/records.ts";

const pod = {
  id: "p".repeat(64),
  sandboxName: "k8s_pod",
  name: "pod",
  namespace: "ns",
  uid: "uid",
  hostname: "host",
  ips: ["10.0.0.2", "fd00::2"],
  runtimeHandler: "crun",
} as unknown as PodContext;

function annotations(changes: Partial<SpecAnnotationInput> = {}): Record<string, string> {
  const spec = containerSpec({
    labels: { "a.b/label": "1", "run.oci.handler": "krun", "io.kubernetes.cri-o.IP.0": "x" },
  });
  return specAnnotations({
    pod,
    record: containerRecord({ spec, createdAtNanos: "1700000000123456789", stopSignal: "SIGINT" }),
    image: { id: "i", ref: "ref", name: "img:1", defaults: { platform: "linux/amd64" }, annotations: {} } as never,
    annotations: {},
    rootfs: "/rootfs",
    mounts: [],
    systemdCgroups: false,
    ...changes,
  });
}

Deno.test("specAnnotations() holds what tools look for", () => {
  const own = (name: string): string | undefined => annotations()[`io.kubernetes.cri-o.${name}`];
  strictEqual(annotations()["io.container.manager"], "cri-o");
  strictEqual(own("SandboxID"), pod.id);
  strictEqual(own("IP.1"), "fd00::2");
  strictEqual(own("Created"), "2023-11-14T22:13:20.123456789Z");
  deepStrictEqual(JSON.parse(own("Metadata") ?? ""), { name: "main", attempt: 0 });
  strictEqual(own("PlatformRuntimePath"), "");
  strictEqual(annotations()["org.opencontainers.image.stopSignal"], "SIGINT");
});

Deno.test("specAnnotations() passes annotations and labels on, but lets neither speak for the daemon or the runtime", () => {
  const all = annotations({
    annotations: { "example.com/x": "1", "run.oci.handler": "allowed", "io.kubernetes.cri-o.SandboxID": "forged" },
  });
  strictEqual(all["example.com/x"], "1");
  strictEqual(all["run.oci.handler"], "allowed");
  strictEqual(all["io.kubernetes.cri-o.SandboxID"], pod.id);
  strictEqual(all["a.b/label"], "1");
  strictEqual(annotations()["run.oci.handler"], undefined);
  strictEqual(all["io.kubernetes.cri-o.IP.0"], "10.0.0.2");
});

Deno.test("specAnnotations() names this container for the hook that traces system calls", () => {
  const traced = { "io.containers.trace-syscall/main": "of:/tmp/x", "io.containers.trace-syscall/other": "of:/tmp/y" };
  strictEqual(annotations({ annotations: traced })["io.containers.trace-syscall"], "of:/tmp/x");
});

Deno.test("specAnnotations() sets properties of systemd's units where it makes the cgroups", () => {
  const has = (all: Record<string, string>): boolean => Object.keys(all).some((key) => key.startsWith("org.systemd."));
  ok(!has(annotations()));
  ok(has(annotations({ systemdCgroups: true })));
});
