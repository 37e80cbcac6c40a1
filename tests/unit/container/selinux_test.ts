import assert from "node:assert/strict";
import { Containers } from "../../../src/container/containers.ts";
import { SelinuxLabels } from "../../../src/security/selinux/labels.ts";
import { configOf, named, signal, withContainers } from "./containers_bench.ts";

Deno.test("Containers.create() hands the labels of its pod to the runtime and the store, and none without SELinux", async () => {
  await withContainers(async (bench) => {
    const selinux = await SelinuxLabels.open({ hostNetworkIsUnseparated: true, root: "/no/such/root" });
    const labels = { processLabel: "u:r:container_t:s0:c1,c2", mountLabel: "u:r:container_file_t:s0:c1,c2" };
    const stored: unknown[] = [];
    const rootfs = {
      ...bench.deps.rootfs,
      create: (container: Parameters<typeof bench.deps.rootfs.create>[0]) => {
        stored.push(container.labels);
        return bench.deps.rootfs.create(container, {});
      },
    };
    const containers = new Containers({ ...bench.deps, selinux, rootfs });
    // What the kernel here has no labels for: the daemon's own files in the container's directory stay out of it.
    const pod = { ...bench.pod, selinux: { labels } };
    const shared = named("a");
    const spec = {
      ...shared,
      security: { ...shared.security, namespaces: { ...shared.security.namespaces, ipc: "node" as const } },
    };
    const id = await containers.create(pod, spec, { signal });
    assert.deepEqual(stored, [{ processLabel: "", mountLabel: "" }]);
    assert.equal((await configOf(bench, id)).process.selinuxLabel, undefined);
    const plain = await containers.create(bench.pod, named("b"), { signal });
    assert.deepEqual(stored[1], undefined);
    assert.equal((await configOf(bench, plain)).linux.mountLabel, undefined);
  });
});
