import { deepEqual, equal, match, ok as assert, rejects } from "node:assert/strict";
import { status } from "@grpc/grpc-js";
import { FailedPreconditionError, NotFoundError } from "../../src/base/errors.ts";
import { newSandboxId } from "../../src/base/ids.ts";
import { ContainerState, LinuxContainerResources, PodSandboxState } from "../../src/cri/gen/api.ts";
import { codeOf, Front } from "../fakes/cri_front.ts";
import { CallError, CriClient } from "../fakes/cri_client.ts";
import { containerConfig, imageSpec, podConfig, someContainer, somePod } from "../fakes/cri_operations.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

Deno.test("a pod and a container go through all RPCs", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const { podSandboxId } = await client.call("runPodSandbox", { config: podConfig() });
  const { containerId } = await client.call("createContainer", {
    podSandboxId: podSandboxId.slice(0, 13),
    config: containerConfig(),
    sandboxConfig: podConfig(),
  });
  await client.call("startContainer", { containerId });
  await client.call("reopenContainerLog", { containerId });
  await client.call("stopContainer", { containerId, timeout: 10n });
  await client.call("stopContainer", { containerId, timeout: -1n });
  await client.call("removeContainer", { containerId });
  await client.call("stopPodSandbox", { podSandboxId });
  await client.call("removePodSandbox", { podSandboxId });
  deepEqual(front.node.calls, [
    `start ${containerId}`,
    `reopen ${containerId}`,
    `stop ${containerId} 10000`,
    `stop ${containerId} 0`,
    `remove ${containerId}`,
    `stop pod ${podSandboxId}`,
    `remove pod ${podSandboxId}`,
  ]);
  equal(front.metrics.observed.length, 9);
  assert(front.metrics.observed.every(({ failed }) => !failed));
});

Deno.test("an empty id is refused by every RPC that takes one", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const calls = [
    client.call("stopPodSandbox"),
    client.call("removePodSandbox"),
    client.call("podSandboxStatus"),
    client.call("createContainer", { config: containerConfig(), sandboxConfig: podConfig() }),
    client.call("startContainer"),
    client.call("stopContainer"),
    client.call("removeContainer"),
    client.call("containerStatus"),
    client.call("reopenContainerLog"),
    client.call("updateContainerResources"),
    client.call("updatePodSandboxResources"),
    client.call("execSync", { cmd: ["true"] }),
    client.call("imageStatus"),
    client.call("pullImage"),
    client.call("removeImage", { image: imageSpec("") }),
  ];
  deepEqual(await Promise.all(calls.map(codeOf)), calls.map(() => status.INVALID_ARGUMENT));
  deepEqual(front.node.calls, []);
});

Deno.test("new limits are checked and handed on", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const linux = { ...LinuxContainerResources.decode(new Uint8Array()), cpuShares: 9n };
  await client.call("updateContainerResources", { containerId: "ab", linux });
  await client.call("updatePodSandboxResources", { podSandboxId: "cd", resources: linux, overhead: undefined });
  deepEqual(front.node.calls, [
    'update ab {"oomScoreAdj":0,"cpuShares":9}',
    'update pod cd {"overhead":{},"resources":{"oomScoreAdj":0,"cpuShares":9}}',
  ]);
  const wrong = { ...linux, memoryLimitInBytes: -1n };
  equal(
    await codeOf(client.call("updateContainerResources", { containerId: "ab", linux: wrong })),
    status.INVALID_ARGUMENT,
  );
});

Deno.test("a status of something absent is NotFound, a list of it is empty", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  equal(await codeOf(client.call("podSandboxStatus", { podSandboxId: "ab" })), status.NOT_FOUND);
  equal(await codeOf(client.call("containerStatus", { containerId: "ab" })), status.NOT_FOUND);
  equal(
    await codeOf(client.call("createContainer", {
      podSandboxId: "ab",
      config: containerConfig(),
      sandboxConfig: podConfig(),
    })),
    status.NOT_FOUND,
  );
  const none = { state: undefined, labelSelector: new Map() };
  deepEqual(await client.call("listPodSandbox", { filter: { id: "ab", ...none } }), { items: [] });
  deepEqual(await client.call("listContainers", { filter: { id: "ab", podSandboxId: "", ...none } }), {
    containers: [],
  });
  deepEqual(await client.call("listContainers", { filter: { id: "", podSandboxId: "ab", ...none } }), {
    containers: [],
  });
  deepEqual(await client.call("listPodSandbox"), { items: [] });
});

Deno.test("listContainers combines its filters", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const [podA, podB] = [somePod(), somePod()];
  front.node.pods.set(podA.id, podA).set(podB.id, podB);
  const blue = { labels: new Map([["color", "blue"], ["constructor", "x"]]) };
  const a1 = someContainer({ sandboxId: podA.id, state: "running" }, blue);
  const a2 = someContainer({ sandboxId: podA.id, state: "exited", exitCode: 1 }, blue);
  const b1 = someContainer({ sandboxId: podB.id, state: "paused" });
  for (const record of [a1, a2, b1]) front.node.containers.set(record.id, record);
  const list = async (filter: {
    id?: string;
    podSandboxId?: string;
    state?: ContainerState;
    labels?: Array<[string, string]>;
  }): Promise<string[]> => {
    const { containers } = await client.call("listContainers", {
      filter: {
        id: filter.id ?? "",
        podSandboxId: filter.podSandboxId ?? "",
        state: filter.state === undefined ? undefined : { state: filter.state },
        labelSelector: new Map(filter.labels ?? []),
      },
    });
    return containers.map(({ id }) => id);
  };
  deepEqual(await list({}), [a1.id, a2.id, b1.id]);
  deepEqual(await list({ id: a1.id.slice(0, 12) }), [a1.id]);
  deepEqual(await list({ podSandboxId: podA.id.slice(0, 12) }), [a1.id, a2.id]);
  deepEqual(await list({ state: ContainerState.CONTAINER_RUNNING }), [a1.id, b1.id]);
  deepEqual(await list({ state: ContainerState.CONTAINER_CREATED }), []);
  deepEqual(await list({ labels: [["color", "blue"]] }), [a1.id, a2.id]);
  deepEqual(await list({ labels: [["color", "blue"], ["x", ""]] }), []);
  deepEqual(await list({ labels: [["toString", ""]] }), []);
  deepEqual(await list({ id: a1.id, podSandboxId: podB.id }), []);
  deepEqual(
    await list({ podSandboxId: podA.id, state: ContainerState.CONTAINER_EXITED, labels: [["color", "blue"]] }),
    [
      a2.id,
    ],
  );
});

Deno.test("a list shows a record's change", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const before = somePod({}, { labels: new Map([["a", "b".repeat(300)]]) });
  front.node.pods.set(before.id, before);
  const [first] = (await client.call("listPodSandbox")).items;
  equal(first?.state, PodSandboxState.SANDBOX_READY);
  equal(first?.labels.get("a")?.length, 300);
  front.node.pods.set(before.id, { ...before, state: "not_ready" });
  const [second] = (await client.call("listPodSandbox")).items;
  deepEqual(second, { ...first, state: PodSandboxState.SANDBOX_NOTREADY });
  const ready = { id: "", labelSelector: new Map(), state: { state: PodSandboxState.SANDBOX_READY } };
  deepEqual((await client.call("listPodSandbox", { filter: ready })).items, []);
});

Deno.test("verbose statuses carry JSON", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const pod = somePod();
  front.node.pods.set(pod.id, pod);
  const record = someContainer({ sandboxId: pod.id, state: "running", process: { pid: 42, startTime: "1" } });
  front.node.containers.set(record.id, record);
  const info = (map: ReadonlyMap<string, string>, key: string): Record<string, unknown> =>
    JSON.parse(map.get(key) ?? "null") as Record<string, unknown>;

  const podAnswer = await client.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
  const podInfo = info(podAnswer.info, "info");
  equal(podInfo["pid"], 0);
  deepEqual((podInfo["runtimeSpec"] as { linux: { namespaces: unknown } }).linux.namespaces, [
    { type: "network", path: "/run/netns/x" },
  ]);
  deepEqual(podAnswer.status?.network, { ip: "10.1.0.2", additionalIps: [{ ip: "fd00::2" }] });

  const answer = await client.call("containerStatus", { containerId: record.id, verbose: true });
  deepEqual(info(answer.info, "info"), {
    sandboxID: pod.id,
    pid: 42,
    runtimeSpec: { ociVersion: "1.0.2" },
    privileged: false,
  });
  equal((await client.call("containerStatus", { containerId: record.id })).info.size, 0);
  deepEqual(info((await client.call("status", { verbose: true })).info, "config"), { sandboxImage: "pause" });
});

Deno.test("Status names conditions, handlers and features", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  front.node.networkProblem = "no CNI configuration file in /etc/cni/net.d/";
  const answer = await client.call("status");
  deepEqual(answer.status?.conditions, [
    { type: "RuntimeReady", status: true, reason: "", message: "" },
    {
      type: "NetworkReady",
      status: false,
      reason: "NetworkPluginNotReady",
      message: "no CNI configuration file in /etc/cni/net.d/",
    },
  ]);
  const features = { recursiveReadOnlyMounts: true, userNamespaces: true };
  deepEqual(answer.runtimeHandlers, [
    { name: "", features },
    { name: "crun", features },
    { name: "runc", features: { ...features, recursiveReadOnlyMounts: false } },
  ]);
  deepEqual(answer.features, { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true });
  equal(answer.info.size, 0);
  front.node.networkProblem = undefined;
  assert((await client.call("status")).status?.conditions.every((condition) => condition.status));
  deepEqual(await client.call("runtimeConfig"), { linux: { cgroupDriver: 1 } });
  deepEqual(
    await client.call("updateRuntimeConfig", { runtimeConfig: { networkConfig: { podCidr: "10.0.0.0/24" } } }),
    {},
  );
});

Deno.test("ExecSync gives output, exit code, and time-outs as answers", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  front.node.onExec = (id, { command, timeoutMs }) =>
    Promise.resolve({
      stdout: text(`${id} ${command.join(",")} ${timeoutMs}`),
      stderr: new Uint8Array([0, 255]),
      exitCode: 3,
      timedOut: timeoutMs === 1000,
    });
  const answer = await client.call("execSync", { containerId: "c", cmd: ["echo", ""], timeout: 0n });
  equal(new TextDecoder().decode(answer.stdout), "c echo, 0");
  deepEqual([...answer.stderr, answer.exitCode], [0, 255, 3]);
  const late = await client.call("execSync", { containerId: "c", cmd: ["sleep"], timeout: 1n });
  deepEqual([new TextDecoder().decode(late.stderr), late.exitCode], ["command timed out", -1]);
  equal(await codeOf(client.call("execSync", { containerId: "c", cmd: ["x"], timeout: -1n })), status.INVALID_ARGUMENT);
  equal(await codeOf(client.call("execSync", { containerId: "c" })), status.INVALID_ARGUMENT);
  front.node.onExec = (): Promise<never> => Promise.reject(new NotFoundError("container", "c"));
  equal(await codeOf(client.call("execSync", { containerId: "c", cmd: ["x"] })), status.NOT_FOUND);
});

Deno.test("ExecSync carries 16 MiB of output", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const stdout = new Uint8Array(16 * 1024 * 1024).fill(7);
  front.node.onExec = () => Promise.resolve({ stdout, stderr: new Uint8Array(), exitCode: 0, timedOut: false });
  const answer = await client.call("execSync", { containerId: "c", cmd: ["cat"] });
  equal(answer.stdout.length, stdout.length);
  assert(answer.stdout.every((byte) => byte === 7));
});

Deno.test("images are listed, found, pulled, removed and measured", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const id = "c".repeat(64);
  front.node.images.set(id, {
    id,
    repoTags: ["docker.io/library/busybox:latest"],
    repoDigests: [`docker.io/library/busybox@sha256:${"d".repeat(64)}`],
    sizeBytes: 2 ** 40,
    user: "1000:1000",
    pinned: true,
    annotations: { a: "b" },
  });
  const { images } = await client.call("listImages");
  equal(images.length, 1);
  deepEqual([images[0]?.size, images[0]?.uid, images[0]?.username, images[0]?.pinned], [
    2n ** 40n,
    { value: 1000n },
    "",
    true,
  ]);
  deepEqual((await client.call("listImages", { filter: { image: imageSpec(id) } })).images, images);
  deepEqual((await client.call("listImages", { filter: { image: imageSpec("nope") } })).images, []);
  deepEqual((await client.call("listImages", { filter: { image: imageSpec("") } })).images, images);
  deepEqual(await client.call("imageStatus", { image: imageSpec("nope"), verbose: true }), {
    image: undefined,
    info: new Map(),
  });
  const found = await client.call("imageStatus", { image: imageSpec(id), verbose: true });
  deepEqual(found.image, images[0]);
  deepEqual(JSON.parse(found.info.get("info") ?? ""), {
    labels: { a: "b" },
    imageSpec: { config: { Labels: { a: "b" } } },
  });
  equal((await client.call("pullImage", { image: imageSpec("busybox") })).imageRef, "b".repeat(64));
  equal(front.node.pulls[0]?.image, "busybox");
  await client.call("removeImage", { image: imageSpec("busybox") });
  deepEqual(front.node.calls, ["remove image busybox"]);
  const { imageFilesystems, containerFilesystems } = await client.call("imageFsInfo");
  deepEqual(containerFilesystems, []);
  deepEqual(imageFilesystems, [{
    timestamp: 7n,
    fsId: { mountpoint: "/var/lib/containers" },
    usedBytes: { value: 5n },
    inodesUsed: { value: 6n },
  }]);
});

Deno.test("what a handler throws reaches the client with code and text", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  front.node.onRun = (): Promise<never> =>
    Promise.reject(new FailedPreconditionError("run pod: 100% wrong: \ud800 „text“ with\nline"));
  await rejects(client.call("runPodSandbox", { config: podConfig() }), (error) => {
    assert(error instanceof CallError);
    equal(error.code, status.FAILED_PRECONDITION);
    match(error.details, /^run pod: 100% wrong: \ufffd „text“ with\nline$/);
    return true;
  });
  deepEqual(front.metrics.observed.at(-1), { operation: "RunPodSandbox", failed: true });
});

Deno.test("a container whose pod is gone is listed under the pod's full id only", async () => {
  await using front = await Front.open();
  using client = new CriClient(front.path);
  const orphan = someContainer({ sandboxId: newSandboxId() });
  front.node.containers.set(orphan.id, orphan);
  const filter = { id: "", state: undefined, labelSelector: new Map<string, string>() };
  const under = async (podSandboxId: string): Promise<number> =>
    (await client.call("listContainers", { filter: { ...filter, podSandboxId } })).containers.length;
  equal(await under(orphan.sandboxId), 1);
  equal(await under(orphan.sandboxId.slice(0, 12)), 0);
});
