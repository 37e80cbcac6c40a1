import { strictEqual, throws } from "node:assert/strict";
import { linkedLogsOf, shmSizeOf } from "../../../src/sandbox/pod_annotations.ts";
import { sandboxSpec } from "../../fakes/records.ts";

Deno.test("shmSizeOf() reads a quantity and refuses what is none", () => {
  strictEqual(shmSizeOf({}, 7), 7);
  strictEqual(shmSizeOf({ "shm-size.crio.io": "128Mi" }, 7), 128 * 1024 * 1024);
  for (const text of ["", "0", "-1Mi", "much", "1"]) {
    throws(() => shmSizeOf({ "io.kubernetes.cri-o.ShmSize": text }, 7), /shm-size\.crio\.io: .*such as 128Mi/);
  }
});

Deno.test("linkedLogsOf() gives the directory of a volume, and refuses names that lead elsewhere", () => {
  const spec = sandboxSpec({ logDirectory: "/logs/ns_pod_uid" });
  const at = (name: string, of = spec): string | undefined =>
    linkedLogsOf({ "link-logs.crio.io": name }, of, { kubeletPods: "/k" });
  strictEqual(linkedLogsOf({}, spec, { kubeletPods: "/k" }), undefined);
  strictEqual(at("logs-1"), "/k/uid/volumes/kubernetes.io~empty-dir/logs-1");
  for (const name of ["", ".", "..", "a/b", "A", "-a", "a".repeat(64)]) {
    throws(() => at(name), /link-logs\.crio\.io: .* is not a volume's name/);
  }
  throws(() => at("logs", sandboxSpec()), /no log directory/);
});
