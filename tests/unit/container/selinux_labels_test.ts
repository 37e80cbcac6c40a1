import assert from "node:assert/strict";
import { containerLabels, withSelinux } from "../../../src/container/selinux.ts";
import type { PodContext } from "../../../src/container/ports.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import { SelinuxLabels } from "../../../src/security/selinux/labels.ts";
import { containerSpec } from "../../fakes/records.ts";

const LABELS = {
  processLabel: "system_u:system_r:container_t:s0:c1,c2",
  mountLabel: "system_u:object_r:container_file_t:s0:c1,c2",
};
const POD = { hostNetwork: false, selinux: { labels: LABELS } } as unknown as PodContext;
const OCI: OciSpec = {
  ociVersion: "1.0.2",
  process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["/a"], env: [], cwd: "/" },
  root: { path: "/root" },
  mounts: [],
  annotations: {},
  linux: { namespaces: [] },
};

Deno.test("containerLabels() goes by the pod's labels, the container's options and its command", async () => {
  const selinux = await SelinuxLabels.open({ hostNetworkIsUnseparated: true, root: "/no/such/root" });
  const spec = containerSpec();
  assert.deepEqual(containerLabels(selinux, { pod: POD, spec, args: ["/a"] }), LABELS);
  assert.match(containerLabels(selinux, { pod: POD, spec, args: ["/sbin/init"] })?.processLabel ?? "", /_init_t/);
  assert.equal(containerLabels(undefined, { pod: POD, spec, args: ["/a"] }), undefined);
  const onHost = { ...POD, hostNetwork: true };
  assert.equal(containerLabels(selinux, { pod: onHost, spec, args: ["/a"] })?.processLabel, "");
});

Deno.test("withSelinux() puts the labels where the runtime looks for them", async () => {
  const rest = { pod: POD, spec: containerSpec(), volumes: [], annotations: {}, directory: "/run/container" };
  const labelled = await withSelinux(OCI, { labels: LABELS, ...rest });
  assert.equal(labelled.process.selinuxLabel, LABELS.processLabel);
  assert.equal(labelled.linux.mountLabel, LABELS.mountLabel);
  assert.deepEqual(await withSelinux(OCI, { labels: undefined, ...rest }), OCI);
  const none = await withSelinux(OCI, { labels: { processLabel: "", mountLabel: "" }, ...rest });
  assert.deepEqual(JSON.parse(JSON.stringify(none)), JSON.parse(JSON.stringify(OCI)));
});

Deno.test("withSelinux() refuses to relabel a directory of the node's system", async () => {
  const volume = { containerPath: "/v", hostPath: "/etc", selinuxRelabel: true } as never;
  const rest = { pod: POD, spec: containerSpec(), volumes: [volume], annotations: {}, directory: "/run/container" };
  await assert.rejects(withSelinux(OCI, { labels: LABELS, ...rest }), /volume \/etc cannot be relabelled/);
});
