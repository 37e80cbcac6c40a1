import { deepEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { type WipedNode, wipeNode, type WipeOptions } from "../../../src/node/wipe.ts";

const OPTIONS: WipeOptions = {
  images: () => true,
  keepLiving: false,
  log: silentLogger,
  signal: new AbortController().signal,
};

interface Pod {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly namespaces: { readonly ipc?: string };
}

/** A node of two pods, the first with a container, and two containers that only the store knows. */
function fakeNode(options: { readonly stuck?: string } = {}): { node: WipedNode; removed: string[] } {
  const removed: string[] = [];
  const pods: Pod[] = [
    { id: "p1", name: "one", state: "not_ready", namespaces: {} },
    { id: "p2", name: "two", state: "ready", namespaces: { ipc: "/ns/two" } },
  ];
  const records = new Map([["c1", { id: "c1", sandboxId: "p1", imageId: "i1", state: "exited" }]]);
  const node = {
    pods: {
      containers: { list: () => records.values(), usesImage: (id: string) => id === "i3" },
      records,
      sandboxes: {
        list: () => pods.values(),
        remove: (id: string) => {
          if (id === options.stuck) return Promise.reject(new Error("plugin hangs"));
          removed.push(id);
          for (const { id: container, sandboxId } of records.values()) if (sandboxId === id) records.delete(container);
          return Promise.resolve();
        },
      },
    },
    store: {
      containers: () =>
        Promise.resolve([
          { id: "c1", metadata: '{"pod-id":"p1"}', imageId: "i1" },
          { id: "cri-o", metadata: '{"pod-name":"k8s_POD_x","pod-id":"gone"}', imageId: "i2" },
          { id: "running", metadata: '{"pod-id":"gone"}', imageId: "i4" },
          { id: "podman", metadata: '{"image-name":"x","name":"podman"}', imageId: "i4" },
          { id: "buildah", metadata: "none", imageId: "i4" },
        ].filter(({ id }) => id !== "c1" || records.has("c1"))),
      mountPoint: (id: string) => Promise.resolve(id === "running" ? "/proc" : `/nowhere/${id}`),
      deleteContainer: (id: string) => Promise.resolve(void removed.push(id)),
    },
    images: {
      list: () => Promise.resolve(["i1", "i2", "i3", "i4"].map((id) => ({ id, pinned: id === "i2" }))),
      remove: (id: string) => Promise.resolve(void removed.push(id)),
    },
  };
  return { node: node as unknown as WipedNode, removed };
}

Deno.test("wipeNode() removes pods, CRI-O's containers and their images, and leaves podman's and pinned ones", async () => {
  const { node, removed } = fakeNode();
  const report = await wipeNode(node, OPTIONS);
  deepEqual(removed, ["p1", "p2", "cri-o", "i1"]);
  deepEqual(report, { pods: 2, containers: 2, images: 1, kept: [], left: [], failed: [] });
});

Deno.test("wipeNode() keeps living pods where a file alone speaks of a reboot", async () => {
  const { node, removed } = fakeNode();
  deepEqual((await wipeNode(node, { ...OPTIONS, images: () => false, keepLiving: true })).kept, ["two"]);
  deepEqual(removed, ["p1", "cri-o"]);
});

Deno.test("wipeNode() goes on after a pod that cannot be removed, and says why", async () => {
  const { node, removed } = fakeNode({ stuck: "p1" });
  const report = await wipeNode(node, { ...OPTIONS, images: () => false });
  deepEqual(report.failed, ["pod one: plugin hangs"]);
  deepEqual([report.pods, report.left], [1, ["p1"]]);
  deepEqual(removed, ["p2", "cri-o"]);
});

Deno.test("wipeNode() removes no further image once the daemon serves", async () => {
  const { node, removed } = fakeNode();
  const list: WipedNode["images"]["list"] = async () =>
    (await node.images.list()).filter(({ pinned }) => !pinned).flatMap((image) => [image, image]);
  const images = (): boolean => !removed.includes("i1");
  await wipeNode({ ...node, images: { ...node.images, list } }, { ...OPTIONS, images });
  deepEqual(removed, ["p1", "p2", "cri-o", "i1"]);
});
