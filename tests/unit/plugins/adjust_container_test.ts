import assert from "node:assert/strict";
import type { Creation } from "../../../src/container/plugins.ts";
import {
  ContainerAdjustment,
  LinuxContainerAdjustment,
  LinuxMemory,
  LinuxResources,
} from "../../../src/nri/gen/nri.ts";
import { message } from "../../../src/nri/message.ts";
import { adjustContainer } from "../../../src/plugins/adjust_container.ts";
import { containerRecord } from "../../fakes/records.ts";

const record = containerRecord({ resources: { cpuShares: 7, memoryLimitBytes: 5 } });

function creation(cgroupPath: string): Creation {
  const spec = {
    ociVersion: "1.0.2",
    process: { env: [], args: [] },
    mounts: [],
    annotations: {},
    linux: { namespaces: [], cgroupsPath: cgroupPath },
  };
  const deps = {
    node: { hasHugetlb: true, hasCpuset: true, hasSwap: false, hasUnified: true, unsetsQuota: true, minOomScoreAdj: 0 },
    runtimes: { find: () => ({ minMemoryBytes: 0 }) },
    annotations: { forContainer: ({ gated: _, ...rest }: Record<string, string>) => ({ ...rest, ofTheHandler: "1" }) },
    cdi: { edits: () => Promise.resolve([]) },
  };
  return { record: { ...record, cgroupPath }, spec, deps, pod: { annotations: {} } } as unknown as Creation;
}

Deno.test("adjustContainer() puts changed limits into the record, beside those that stay", async () => {
  const resources = message(LinuxResources, { memory: message(LinuxMemory, { limit: { value: 9n } }) });
  const adjustment = message(ContainerAdjustment, { linux: message(LinuxContainerAdjustment, { resources }) });
  const { changes } = await adjustContainer(creation("/pods/x"), adjustment);
  assert.deepEqual(changes, { resources: { cpuShares: 7, memoryLimitBytes: 9 } });
});

Deno.test("adjustContainer() moves a container below another parent, and refuses another name of its cgroup", async () => {
  const moved = async (from: string, cgroupsPath: string): Promise<unknown> => {
    const linux = message(LinuxContainerAdjustment, { cgroupsPath });
    return (await adjustContainer(creation(from), message(ContainerAdjustment, { linux }))).changes;
  };
  const leaf = `crio-${record.id}`;
  assert.deepEqual(await moved(`/pods/${leaf}`, `/other/${leaf}`), {
    cgroupPath: `/other/${leaf}`,
    cgroupParent: "/other",
  });
  assert.deepEqual(await moved(`/pods/${leaf}`, `/${leaf}`), { cgroupPath: `/${leaf}`, cgroupParent: "/" });
  assert.deepEqual(await moved(`a.slice:crio:${record.id}`, `b.slice:crio:${record.id}`), {
    cgroupPath: `b.slice:crio:${record.id}`,
    cgroupParent: "b.slice",
  });
  await assert.rejects(moved(`/pods/${leaf}`, "/other/name"), /only the parent can be changed/);
  await assert.rejects(moved(`/pods/${leaf}`, "/other/crio-other"), /only the parent can be changed/);
});

Deno.test("adjustContainer() leaves out annotations that do not count", async () => {
  const annotations = new Map([["gated", "1"], ["free", "2"]]);
  const { spec } = await adjustContainer(creation("/pods/x"), message(ContainerAdjustment, { annotations }));
  assert.deepEqual(spec.annotations, { free: "2" });
});
