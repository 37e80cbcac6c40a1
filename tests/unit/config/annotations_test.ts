import { deepStrictEqual, match, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { adaptToHost } from "../../../src/config/adapt.ts";
import { AnnotationGate } from "../../../src/config/annotation_gate.ts";
import { annotationValue, GATED_ANNOTATIONS, isReservedKey, namesKey } from "../../../src/config/annotations.ts";
import { buildConfig } from "../../../src/config/build.ts";
import { fakeHost, loadText } from "./_fixtures.ts";

async function gate(text: string): Promise<AnnotationGate> {
  const values = await loadText(text);
  adaptToHost(values, fakeHost());
  return new AnnotationGate(buildConfig(values));
}

const CRUN = "[crio.runtime.runtimes.crun]\n";
const handler = "crun";

Deno.test("annotationValue() prefers the newer name", () => {
  const both = { "umask.crio.io": "077", "io.kubernetes.cri-o.umask": "022" };
  strictEqual(annotationValue(both, "umask"), "077");
  strictEqual(annotationValue({ "io.kubernetes.cri-o.umask": "022" }, "umask"), "022");
  strictEqual(annotationValue({}, "umask"), undefined);
  strictEqual(annotationValue(Object.create({ "umask.crio.io": "1" }), "umask"), undefined);
});

Deno.test("annotationValue() finds a container's value in every spelling, and nobody else's", () => {
  const container = "main";
  for (
    const key of [
      "unified-cgroup.crio.io/main",
      "unified-cgroup.crio.io.main",
      "io.kubernetes.cri-o.UnifiedCgroup/main",
      "io.kubernetes.cri-o.UnifiedCgroup.main",
    ]
  ) {
    strictEqual(annotationValue({ [key]: "v" }, "unifiedCgroup", { container }), "v", key);
    strictEqual(annotationValue({ [key]: "v" }, "unifiedCgroup", { container: "other" }), undefined);
    strictEqual(annotationValue({ [key]: "v" }, "unifiedCgroup"), undefined);
  }
  strictEqual(annotationValue({ "unified-cgroup.crio.io": "v" }, "unifiedCgroup", { container }), undefined);
  const both = { "seccomp-profile.crio.io/POD": "new", "seccomp-profile.kubernetes.cri-o.io/POD": "old" };
  strictEqual(annotationValue(both, "seccompProfile", { container: "POD" }), "new");
});

Deno.test("namesKey() ends at a boundary", () => {
  ok(namesKey("bundle", "bundle"));
  ok(!namesKey("bundle", "bundle-of-joy/x"));
  ok(namesKey("run.oci.", "run.oci.handler"));
  ok(namesKey("cpu-quota.crio.io", "cpu-quota.crio.io/main"));
  ok(namesKey("io.kubernetes.cri-o.UnifiedCgroup", "io.kubernetes.cri-o.UnifiedCgroup.main"));
});

Deno.test("AnnotationGate takes away what nobody allows, and leaves what means nothing here", async () => {
  const annotations = {
    ...Object.fromEntries(GATED_ANNOTATIONS.map((name) => [name.endsWith(".") ? `${name}x` : name, "v"])),
    "cpu-quota.crio.io/main": "disable",
    "io.kubernetes.cri-o.UnifiedCgroup.main": "a=b",
    "skip-gomaxprocs.crio.io": "true",
    "bundle-of-joy": "kept",
    "example.com/x": "kept",
  };
  const kept = (await gate(`${CRUN}allowed_annotations = []`)).forPod(annotations, { handler });
  deepStrictEqual(Object.keys(kept), ["skip-gomaxprocs.crio.io", "bundle-of-joy", "example.com/x"]);
  // A handler that is not there any more allows nothing.
  deepStrictEqual(Object.keys((await gate("")).forPod(annotations, { handler: "gone" })), Object.keys(kept));
});

Deno.test("AnnotationGate keeps what the handler allows, by its exact name", async () => {
  const opened = await gate(`${CRUN}allowed_annotations = ["umask.crio.io", "run.oci.", "cpu-quota.crio.io"]`);
  const kept = opened.forPod({
    "umask.crio.io": "077",
    "io.kubernetes.cri-o.umask": "077",
    "run.oci.handler": "krun",
    "cpu-quota.crio.io/main": "disable",
    "devices.crio.io": "/dev/fuse",
  }, { handler });
  deepStrictEqual(Object.keys(kept), ["umask.crio.io", "run.oci.handler", "cpu-quota.crio.io/main"]);
});

Deno.test("AnnotationGate keeps what the pod's workload allows, for its containers too", async () => {
  const opened = await gate(
    `${CRUN}allowed_annotations = ["umask.crio.io"]\n[crio.runtime.workloads.high]\nactivation_annotation = "io.high"\n` +
      `allowed_annotations = ["cpu-quota.crio.io"]\n`,
  );
  const wish = { "umask.crio.io": "077", "cpu-quota.crio.io": "disable", "devices.crio.io": "/dev/fuse" };
  deepStrictEqual(Object.keys(opened.forPod(wish, { handler })), ["umask.crio.io"]);
  const pod = opened.forPod({ ...wish, "io.high": "" }, { handler });
  deepStrictEqual(Object.keys(pod), ["umask.crio.io", "cpu-quota.crio.io", "io.high"]);
  strictEqual(opened.workloadOf(pod)?.name, "high");
  deepStrictEqual(
    opened.forContainer({ "umask.crio.io": "022", "devices.crio.io": "/dev/fuse" }, {
      runtimeHandler: handler,
      annotations: pod,
    }),
    { ...pod, "umask.crio.io": "022" },
  );
});

Deno.test("AnnotationGate puts the handler's defaults below the pod's own, in whatever spelling", async () => {
  const opened = await gate(
    `${CRUN}allowed_annotations = ["io.kubernetes.cri-o.umask"]\n` +
      `default_annotations = { "umask.crio.io" = "077", "shm-size.crio.io" = "1Mi", "a/b" = "c" }`,
  );
  const defaults = { "umask.crio.io": "077", "shm-size.crio.io": "1Mi", "a/b": "c" };
  deepStrictEqual(opened.forPod({}, { handler }), defaults);
  const own = opened.forPod({ "io.kubernetes.cri-o.umask": "022", "shm-size.crio.io": "9Gi", "a/b": "d" }, { handler });
  deepStrictEqual(own, { "shm-size.crio.io": "1Mi", "io.kubernetes.cri-o.umask": "022", "a/b": "d" });
});

Deno.test("allowed_annotations must be known: a handler is left out, a workload is refused", async () => {
  const values = await loadText(
    `[crio.runtime.runtimes.other]\nruntime_path = "crun"\nallowed_annotations = ["umsk.crio.io"]`,
  );
  adaptToHost(values, fakeHost());
  ok(!buildConfig(values).handlers.has("other"));
  match(values.warnings[0]?.problem ?? "", /left out: allowed_annotations: "umsk.crio.io" .*"umask.crio.io" meant/);
  await rejects(
    loadText(`[crio.runtime.workloads.w]\nactivation_annotation = "x"\nallowed_annotations = ["nonsense"]`),
    /workloads\.w\.allowed_annotations.*nonsense/,
  );
  const nameless = await loadText(`[crio.runtime.workloads.w]\nannotation_prefix = "x"`);
  throws(() => adaptToHost(nameless, fakeHost()), /workloads\.w\.activation_annotation.*needed/);
});

Deno.test("isReservedKey() tells the daemon's own notes from annotations with a meaning", () => {
  ok(isReservedKey("io.kubernetes.cri-o.SandboxID"));
  ok(isReservedKey("io.kubernetes.cri-o.IP.0"));
  ok(!isReservedKey("io.kubernetes.cri-o.umask"));
  ok(!isReservedKey("example.com/io.kubernetes.cri-o."));
});
