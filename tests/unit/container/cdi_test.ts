import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { requestedCdiDevices, withCdiDevices } from "../../../src/container/cdi.ts";
import type { OciSpec } from "../../../src/oci/spec/types.ts";
import type { ContainerEdits } from "../../../src/security/cdi/edits.ts";
import { containerSpec } from "../../fakes/records.ts";

const BASE: OciSpec = {
  ociVersion: "1.0.2",
  process: {
    terminal: false,
    user: { uid: 1000, gid: 0, additionalGids: [5] },
    args: ["x"],
    env: ["A=base", "B=base"],
    cwd: "/",
  },
  root: { path: "/r" },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: [] },
    { destination: "/a/b", type: "bind", source: "/old", options: [] },
  ],
  annotations: {},
  linux: {
    namespaces: [],
    devices: [{ path: "/dev/x", type: "c", major: 9, minor: 9 }],
    resources: { devices: [{ allow: false, access: "rwm" }], pids: { limit: 3 } },
  },
};

async function edited(...edits: ContainerEdits[]): Promise<OciSpec> {
  return await withCdiDevices(BASE, ["v/c=a"], { edits: () => Promise.resolve(edits) });
}

Deno.test("requestedCdiDevices() takes the request's and the container's annotated ones, each once", () => {
  const spec = containerSpec({ cdiDevices: ["v/c=a"], annotations: { "cdi.k8s.io/p": "v/c=b,v/c=a" } });
  deepStrictEqual(requestedCdiDevices(spec), ["v/c=a", "v/c=b"]);
});

Deno.test("withCdiDevices() replaces variables, mounts and devices, and adds groups and hooks", async () => {
  const hook = { hookName: "createRuntime", path: "/h", args: ["h"] } as const;
  const oci = await edited(
    { env: ["A=cdi", "C=cdi"], additionalGids: [0, 5, 7], hooks: [hook], intelRdt: { closID: "c" } },
    {
      mounts: [{ hostPath: "/new", containerPath: "/a/b", options: ["ro"] }, {
        hostPath: "/m",
        containerPath: "/a",
        options: ["bind"],
      }],
      hooks: [hook],
    },
  );
  deepStrictEqual(oci.process.env, ["A=cdi", "B=base", "C=cdi"]);
  deepStrictEqual(oci.process.user, { uid: 1000, gid: 0, additionalGids: [5, 7] });
  deepStrictEqual(oci.mounts.map(({ destination, source, type, options }) => [destination, source, type, ...options]), [
    ["/proc", "proc", "proc"],
    ["/a", "/m", "bind", "bind"],
    ["/a/b", "/new", "bind", "rbind", "ro"],
  ]);
  deepStrictEqual(oci.hooks, { createRuntime: [{ path: "/h", args: ["h"] }, { path: "/h", args: ["h"] }] });
  deepStrictEqual(oci.linux.intelRdt, { closID: "c" });
  deepStrictEqual(oci.linux.resources?.pids, { limit: 3 });
});

Deno.test("withCdiDevices() completes device nodes from this node, with the container's user as owner", async () => {
  const oci = await edited({
    deviceNodes: [
      { path: "/dev/x", hostPath: "/dev/null", permissions: "r" },
      { path: "/dev/given", type: "b", major: 8, minor: 1, fileMode: 0o600, uid: 1, gid: 2 },
      { path: "/dev/quiet", hostPath: "/dev/zero", permissions: "none" },
      { path: "/dev/pipe", type: "p" },
    ],
  });
  deepStrictEqual(oci.linux.devices, [
    { path: "/dev/x", uid: 1000, type: "c", major: 1, minor: 3 },
    { path: "/dev/given", fileMode: 0o600, uid: 1, gid: 2, type: "b", major: 8, minor: 1 },
    { path: "/dev/quiet", uid: 1000, type: "c", major: 1, minor: 5 },
    { path: "/dev/pipe", uid: 1000, type: "p" },
  ]);
  deepStrictEqual(oci.linux.resources?.devices?.slice(1), [
    { allow: true, type: "c", major: 1, minor: 3, access: "r" },
    { allow: true, type: "b", major: 8, minor: 1, access: "rwm" },
  ]);
});

Deno.test("withCdiDevices() refuses what this node has otherwise, or has not", async () => {
  await rejects(
    edited({ deviceNodes: [{ path: "/dev/null", type: "b" }] }),
    /\/dev\/null is of type c on this node, not b/,
  );
  await rejects(edited({ deviceNodes: [{ path: "/dev/none-such" }] }), /none-such does not exist/);
  await rejects(edited({ netDevices: [{ hostInterfaceName: "e", name: "n" }] }), /network interfaces \(n\)/);
  strictEqual(await withCdiDevices(BASE, [], { edits: () => Promise.resolve([]) }), BASE);
});
