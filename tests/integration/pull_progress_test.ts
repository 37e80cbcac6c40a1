import { equal, match, ok, rejects } from "node:assert/strict";
import type { PullStatus } from "../../src/image/progress/pull_status.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { buildTar } from "../fakes/tar.ts";
import { isClean, withNode } from "./pull_node.ts";

openLibraries();

const LAYERS = [
  buildTar([{ name: "etc/one", body: "1" }]),
  buildTar([{ name: "blob", body: crypto.getRandomValues(new Uint8Array(60_000)) }]),
];

Deno.test("a pull that stalls is cancelled after pull_progress_timeout, with what it waited for, and leaves nothing", async () => {
  const pulls = new RunningPulls({ progressTimeoutMs: 700 });
  await withNode({ pulls }, async ({ images, registry, client, root, store }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    const stalled = built.layers[1]?.digest ?? "";
    registry.fail({ path: stalled, effect: { kind: "stall", afterBytes: 1000 } });
    await rejects(images.pull({ image: built.reference }), (error: Error & { kind?: string }) => {
      match(
        error.message,
        new RegExp(
          `no progress for 0\\.7 s while downloading from http://127.*layer ${stalled} is at 1000 of \\d+ bytes`,
        ),
      );
      equal(error.kind, "deadline_exceeded");
      return true;
    });
    match(pulls.list()[0]?.error ?? "", /no progress/);
    const pid = await client.pid();
    registry.clearFaults();
    await store.settle();
    await isClean(root);
    ok(await images.pull({ image: built.reference }));
    equal(await client.pid(), pid, "the process that was told to stop goes on");
  });
});

Deno.test("a registry that never answers for a manifest is given up after pull_progress_timeout", async () => {
  const pulls = new RunningPulls({ progressTimeoutMs: 500 });
  await withNode({ pulls }, async ({ images, registry }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    registry.fail({ path: "/manifests/", effect: { kind: "stall" } });
    await rejects(images.pull({ image: built.reference }), /no progress for 0\.5 s while looking for the manifest/);
  });
});

Deno.test("a slow pull gets on, and tells how far it is", async () => {
  const pulls = new RunningPulls({ progressTimeoutMs: 1500 });
  await withNode({ pulls }, async ({ images, registry }) => {
    const built = registry.addImage({ name: "app", layers: LAYERS });
    registry.fail({ path: built.layers[1]?.digest ?? "", effect: { kind: "slow", bytesPerSecond: 25_000 } });
    const seen: PullStatus[] = [];
    using _watch = pulls.watch((id) => {
      const status = pulls.find(id);
      if (status !== undefined) seen.push(status);
    });
    await images.pull({ image: built.reference });
    const middle = seen.find(({ layers }) => layers[1]?.state === "downloading");
    ok(middle !== undefined && middle.endpoint.startsWith("http://127.0.0.1:"));
    const [first, second] = middle.layers;
    ok((second?.downloadedBytes ?? 0) > 0 && (second?.downloadedBytes ?? 0) < (second?.sizeBytes ?? 0));
    ok(middle.bytesPerSecond > 0);
    equal(first?.state, "done");
    ok((first?.unpackedBytes ?? 0) > 1000);
    equal(seen.at(-1)?.stage, "done");
    ok(
      seen.at(-1)?.layers.every(({ state, downloadedBytes, sizeBytes }) =>
        state === "done" && downloadedBytes === sizeBytes
      ),
    );
  });
});
