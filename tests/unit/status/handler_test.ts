import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { createServer } from "node:http";
import { InvalidArgumentError, NotFoundError } from "../../../src/base/errors.ts";
import { newContainerId, newSandboxId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { RunningPulls } from "../../../src/image/progress/running_pulls.ts";
import type { ContainerRecord } from "../../../src/container/types.ts";
import type { SandboxRecord } from "../../../src/sandbox/types.ts";
import { createStatusHandler } from "../../../src/status/handler.ts";
import type { StatusDeps } from "../../../src/status/types.ts";
import { FakeNode } from "../../fakes/node_view.ts";

const sandbox = {
  id: newSandboxId(),
  name: "k8s_pod_default_uid_0",
  state: "ready",
  createdAtNanos: "1795463220123456789",
  ips: ["10.88.0.7"],
  hostname: "pod",
  spec: {
    metadata: { name: "pod", namespace: "default", uid: "uid", attempt: 0 },
    labels: { app: "x" },
    annotations: {},
    logDirectory: "/var/log/pods/x",
    security: { namespaces: { network: "pod" } },
  },
} as unknown as SandboxRecord;

const container = {
  id: newContainerId(),
  sandboxId: sandbox.id,
  name: "k8s_ctr_pod_default_uid_0",
  state: "running",
  process: { pid: 4711, startTime: "1" },
  imageName: "docker.io/library/busybox:latest",
  imageRef: "b".repeat(64),
  createdAtNanos: "1795463221123456789",
  logFile: "/var/log/pods/x/ctr/0.log",
  rootfs: "/var/lib/containers/storage/overlay/x/merged",
  spec: { labels: { a: "b" }, annotations: { c: "d" } },
} as unknown as ContainerRecord;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

type Ask = (path: string, init?: RequestInit) => Promise<Answer>;

/** Serves a node with one pod and one container; `changed` collects state changes. */
async function withNode(
  options: { deps?: Partial<StatusDeps>; containers?: readonly ContainerRecord[] },
  use: (ask: Ask, changed: readonly string[], port: number) => Promise<void>,
): Promise<void> {
  const changed: string[] = [];
  const containers = options.containers ?? [container];
  const handler = createStatusHandler({
    log: silentLogger,
    findContainer: (id) => containers.find((record) => record.id === id),
    findSandbox: (id) => id === sandbox.id ? sandbox : undefined,
    rootOf: ({ id, rootfs }) => Promise.resolve(rootfs === "" ? `/mounted/${id}` : rootfs),
    processIn: (id) => id === sandbox.id ? 4711 : 0,
    pause: (id) => Promise.resolve(void changed.push(`pause ${id}`)),
    unpause: (id) => Promise.resolve(void changed.push(`unpause ${id}`)),
    info: () => ({ storageDriver: "overlay", storageRoot: "/s", storageImage: "", cgroupDriver: "systemd" }),
    configToml: () => "[crio]\n",
    reload: () => Promise.resolve({ applied: [], pending: [], warnings: [] }),
    debug: () => ({ requests: 1 }),
    pulls: new RunningPulls(),
    archives: { status: () => ({ directory: "/images.d", problem: "", archives: [] }) },
    node: new FakeNode(),
    signal: new AbortController().signal,
    ...options.deps,
  });
  const server = createServer(handler);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const address = server.address();
  const port = typeof address === "object" ? address?.port ?? 0 : 0;
  try {
    await use(
      async (path, init) => {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, {
          ...init,
          headers: { connection: "close", ...init?.headers },
        });
        const type = response.headers.get("content-type") ?? "";
        return { status: response.status, type, text: await response.text() };
      },
      changed,
      port,
    );
  } finally {
    server.closeAllConnections();
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    await closed.promise;
  }
}

Deno.test("GET /info gives storage and cgroup driver", async () => {
  await withNode({}, async (ask) => {
    const { status, type, text } = await ask("/info");
    deepStrictEqual([status, type], [200, "application/json"]);
    deepStrictEqual(JSON.parse(text), {
      storage_driver: "overlay",
      storage_image: "",
      storage_root: "/s",
      cgroup_driver: "systemd",
      default_id_mappings: {
        uids: [{ container_id: 0, host_id: 0, size: 4294967295 }],
        gids: [{ container_id: 0, host_id: 0, size: 4294967295 }],
      },
    });
  });
});

Deno.test("GET /containers/:id gives what cAdvisor reads, the time exactly", async () => {
  await withNode({}, async (ask) => {
    const { text } = await ask(`/containers/${container.id}`);
    match(text, /"created_time":1795463221123456789[,}]/);
    const { pid, image, image_ref, log_path, root, sandbox: pod, ip_addresses, host_network, labels } = JSON.parse(
      text,
    );
    deepStrictEqual([pid, image, image_ref, log_path], [
      4711,
      container.imageName,
      container.imageRef,
      container.logFile,
    ]);
    deepStrictEqual([root, pod, ip_addresses, host_network, labels], [
      container.rootfs,
      sandbox.id,
      ["10.88.0.7"],
      false,
      { a: "b" },
    ]);
  });
});

Deno.test("GET /containers/:id tells where the root of a container will be that is being made", async () => {
  const made = { ...container, state: "creating", rootfs: "" } as const;
  await withNode({ containers: [made] }, async (ask) => {
    const { pid, root } = JSON.parse((await ask(`/containers/${made.id}`)).text);
    deepStrictEqual([pid, root], [0, `/mounted/${made.id}`]);
  });
});

Deno.test("GET /containers/:id knows the infra container by the pod's id", async () => {
  await withNode({}, async (ask) => {
    const { name, pid, sandbox: pod, labels } = JSON.parse((await ask(`/containers/${sandbox.id}`)).text);
    deepStrictEqual([name, pod], ["k8s_POD_pod_default_uid_0", sandbox.id]);
    // A pod without infra process is told by the process of a container: the network is the same.
    strictEqual(pid, 4711);
    deepStrictEqual(labels, { app: "x", "io.kubernetes.container.name": "POD" });
  });
});

Deno.test("GET /containers/:id tells a missing container from a missing sandbox", async () => {
  const orphan = { ...container, sandboxId: newSandboxId() };
  await withNode({ containers: [orphan] }, async (ask) => {
    const missing = await ask("/containers/nope");
    deepStrictEqual([missing.status, missing.text], [404, "can't find the container with id nope\n"]);
    const lost = await ask(`/containers/${orphan.id}`);
    deepStrictEqual([lost.status, lost.text], [404, `can't find the sandbox for container id ${orphan.id}\n`]);
  });
});

Deno.test("GET /config gives TOML, GET /debug gives open handles and memory", async () => {
  await withNode({}, async (ask) => {
    const config = await ask("/config");
    deepStrictEqual([config.status, config.type, config.text], [200, "application/toml", "[crio]\n"]);
    const debug = JSON.parse((await ask("/debug")).text);
    ok(debug.openHandles.total > 3 && debug.openHandles.socket > 0 && debug.memoryBytes.rss > 1e6);
    strictEqual(debug.requests, 1);
  });
});

Deno.test("GET /pause and /unpause change a container in the right state only", async () => {
  await withNode({}, async (ask, changed) => {
    const paused = await ask(`/pause/${container.id}`);
    deepStrictEqual([paused.status, paused.type, paused.text], [200, "text/html", "200 OK"]);
    const wrong = await ask(`/unpause/${container.id}`);
    deepStrictEqual([wrong.status, wrong.text], [409, "container is not in paused state, now is running\n"]);
    strictEqual((await ask("/pause/nope")).status, 404);
    deepStrictEqual(changed, [`pause ${container.id}`]);
  });
});

Deno.test("GET /pause is refused for web pages, prefetches and other methods", async () => {
  await withNode({}, async (ask, changed) => {
    const path = `/pause/${container.id}`;
    strictEqual((await ask(path, { headers: { origin: "http://evil.example" } })).status, 403);
    strictEqual((await ask(path, { method: "HEAD" })).status, 403);
    strictEqual((await ask(path, { method: "POST", body: "x" })).status, 405);
    deepStrictEqual(changed, []);
  });
});

Deno.test("a request in absolute form, as through a proxy, is understood", async () => {
  await withNode({}, async (_ask, _changed, port) => {
    using connection = await Deno.connect({ port });
    await connection.write(new TextEncoder().encode("GET http://crio/config?x HTTP/1.0\r\nHost: crio\r\n\r\n"));
    match(await new Response(connection.readable).text(), /^HTTP\/1\.1 200 .*\[crio\]\n$/s);
  });
});

Deno.test("other paths are not found", async () => {
  await withNode({}, async (ask) => {
    for (const path of ["/", "/containers", "/containers/", "/pause/", "/info/x", "/containers/a/b", "/infox", "/%"]) {
      strictEqual((await ask(path)).status, 404, path);
    }
  });
});

Deno.test("what the daemon throws becomes its code and message", async () => {
  const fail = (): never => {
    throw new NotFoundError("container", "gone");
  };
  await withNode({ deps: { pause: fail, configToml: () => JSON.parse("{") } }, async (ask) => {
    const gone = await ask(`/pause/${container.id}`);
    deepStrictEqual([gone.status, gone.text], [404, 'container "gone" not found\n']);
    strictEqual((await ask("/config")).status, 500);
  });
});

Deno.test("POST /reload tells the outcome, or why nothing was changed; a web page cannot ask for it", async () => {
  await withNode({}, async (ask) => {
    const done = await ask("/reload", { method: "POST" });
    deepStrictEqual([done.status, done.text], [200, '{"applied":[],"pending":[],"warnings":[]}']);
    strictEqual((await ask("/reload")).status, 405);
    strictEqual((await ask("/reload", { method: "POST", headers: { origin: "http://evil" } })).status, 403);
  });
  const reload = (): Promise<never> => Promise.reject(new InvalidArgumentError("/etc/x: crio.y: is wrong"));
  await withNode({ deps: { reload } }, async (ask) => {
    const failed = await ask("/reload", { method: "POST" });
    deepStrictEqual([failed.status, failed.text], [400, "/etc/x: crio.y: is wrong\n"]);
  });
});
