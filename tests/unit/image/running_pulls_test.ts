import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Digest } from "../../../src/base/ids.ts";
import type { PullTracker } from "../../../src/image/progress/pull_tracker.ts";
import { RunningPulls } from "../../../src/image/progress/running_pulls.ts";

const never = new AbortController().signal;
const MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip";

function layers(...sizes: readonly number[]): Parameters<PullTracker["resolved"]>[0]["layers"] {
  return sizes.map((sizeBytes, i) => ({
    sizeBytes,
    mediaType: MEDIA_TYPE,
    digest: `sha256:${String(i).repeat(64)}` as Digest,
  }));
}

Deno.test("RunningPulls tells of each stage and layer, and of the end for a while", () => {
  const pulls = new RunningPulls();
  const pull = pulls.begin("app:1", never);
  equal(pulls.list()[0]?.stage, "looking");
  pull.resolved({ endpoint: "https://r", layers: layers(10, 20, 30, 40), present: 1, imageBytes: 105 });
  pull.progress({ downloaded: [0, 5, 30, 0], unpacked: [0, 7, 60, 0], finished: [] });
  const states = (): unknown => pulls.find(1)?.layers.map((layer) => [layer.state, layer.downloadedBytes]);
  deepEqual(states(), [["present", 0], ["downloading", 5], ["unpacking", 30], ["waiting", 0]]);
  pull.progress({ downloaded: [0, 5, 30, 0], unpacked: [0, 7, 90, 0], finished: [2] });
  deepEqual(states(), [["present", 0], ["downloading", 5], ["done", 30], ["waiting", 0]]);
  ok((pulls.find(1)?.bytesPerSecond ?? 0) > 0);
  pull.committing();
  deepEqual(states(), [["present", 0], ["done", 20], ["done", 30], ["done", 40]]);
  pull.succeeded("abc");
  const [status] = pulls.list();
  deepEqual([status?.stage, status?.endpoint, status?.imageId], ["done", "https://r", "abc"]);
});

Deno.test("RunningPulls names the place that is asked, and a time limit that a next place begins anew", async () => {
  const pulls = new RunningPulls({ progressTimeoutMs: 100 });
  const pull = pulls.begin("app:1", never);
  for (const endpoint of ["mirror/app:1", "other/app:1", "registry/app:1"]) {
    pull.asking(endpoint);
    equal(pulls.list()[0]?.endpoint, endpoint);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  await new Promise<void>((resolve) => pull.signal.addEventListener("abort", () => resolve(), { once: true }));
  match(String(pull.signal.reason), /no progress for 0\.1 s while looking for the manifest from registry\/app:1;/);
  pull.failed(pull.signal.reason);
});

Deno.test("RunningPulls keeps no more than the last fifty that have ended, and those that run", () => {
  const pulls = new RunningPulls();
  pulls.begin("runs", never);
  for (let i = 0; i < 60; i++) pulls.begin(`failed-${i}`, never).failed(new Error("no"));
  const names = pulls.list().map(({ image }) => image);
  equal(names.length, 51);
  deepEqual([names[0], names[1], names.at(-1)], ["runs", "failed-10", "failed-59"]);
});

Deno.test("RunningPulls.watch() hears of changes only, until it is disposed", () => {
  const pulls = new RunningPulls();
  const heard: number[] = [];
  const watch = pulls.watch((id) => heard.push(id));
  const pull = pulls.begin("app", never);
  pull.resolved({ endpoint: "", layers: layers(10), present: 0, imageBytes: 10 });
  const report = { downloaded: [4], unpacked: [4], finished: [] };
  pull.progress(report);
  pull.progress(report);
  deepEqual(heard, [1, 1, 1]);
  watch[Symbol.dispose]();
  pull.failed(new Error("no"));
  equal(heard.length, 3);
});

Deno.test("a pull that gets on in no way is cancelled with the layer that is open; reports of nothing do not help", async () => {
  const pulls = new RunningPulls({ progressTimeoutMs: 80 });
  equal(pulls.intervalMs, 10);
  const pull = pulls.begin("app:1", never);
  pull.resolved({ endpoint: "https://r", layers: layers(10, 20), present: 1, imageBytes: 30 });
  const beganMs = performance.now();
  const repeat = setInterval(() => pull.progress({ downloaded: [0, 5], unpacked: [0, 5], finished: [] }), 10);
  await new Promise<void>((resolve) => pull.signal.addEventListener("abort", () => resolve(), { once: true }));
  clearInterval(repeat);
  ok(performance.now() - beganMs >= 79);
  match(
    String(pull.signal.reason),
    /pull app:1: no progress for 0\.08 s while downloading from https:\/\/r; layer sha256:1+ is at 5 of 20 bytes; .*pull_progress_timeout/,
  );
  equal((pull.signal.reason as { kind: string }).kind, "deadline_exceeded");
  pull.failed(pull.signal.reason);
});

Deno.test("a pull that gets on, commits or has no limit is not cancelled", async () => {
  const limited = new RunningPulls({ progressTimeoutMs: 150 });
  const moving = limited.begin("moving", never);
  moving.resolved({ endpoint: "", layers: layers(1000), present: 0, imageBytes: 1000 });
  const committing = limited.begin("committing", never);
  committing.committing();
  const unlimited = new RunningPulls().begin("unlimited", never);
  for (let i = 1; i <= 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    moving.progress({ downloaded: [i], unpacked: [0], finished: [] });
  }
  deepEqual([moving, committing, unlimited].map(({ signal }) => signal.aborted), [false, false, false]);
  for (const pull of [moving, committing, unlimited]) pull.succeeded("x");
});

Deno.test("the observer gets each byte once, reused layers with the image, and sizes of layers that are done", () => {
  const told: unknown[] = [];
  const pulls = new RunningPulls({
    observer: {
      received: (bytes, { layerBytes }) => told.push(["received", bytes, layerBytes]),
      layerDone: (bytes) => told.push(["done", bytes]),
      layerReused: (name) => told.push(["reused", name]),
      skipped: (bytes) => told.push(["skipped", bytes]),
      succeeded: () => told.push(["succeeded"]),
      failed: ({ kind }) => told.push(["failed", kind]),
    },
  });
  const pull = pulls.begin("app", never);
  pull.resolved({ endpoint: "", layers: layers(10, 20), present: 1, imageBytes: 33 });
  pull.progress({ downloaded: [0, 15], unpacked: [0, 0], finished: [] });
  pull.progress({ downloaded: [0, 15], unpacked: [0, 0], finished: [] });
  pull.committing();
  pull.succeeded("id");
  const reused = ["reused", `app@sha256:${"0".repeat(64)}`];
  deepEqual(told, [reused, ["received", 15, 20], ["received", 5, 20], ["done", 20], ["succeeded"]]);
  told.length = 0;
  const again = pulls.begin("app", never);
  again.resolved({ endpoint: "", layers: layers(10), present: 1, imageBytes: 33 });
  again.failed(new Error("no"));
  deepEqual(told, [reused, ["skipped", 33], ["failed", "internal"]]);
});
