import assert from "node:assert/strict";
import fc from "fast-check";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import {
  containerCgroup,
  expandSlice,
  monitorCgroup,
  monitorHome,
  podCgroup,
  runtimeCgroupsPath,
} from "../../../src/cgroup/paths.ts";

const SLICE = "kubepods-burstable-pod1_2.slice";
const EXPANDED = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";

Deno.test("expandSlice() makes a level of each dash", () => {
  assert.equal(expandSlice(SLICE), EXPANDED);
  assert.equal(expandSlice("system.slice"), "/system.slice");
  assert.equal(expandSlice("-.slice"), "/");
});

Deno.test("expandSlice() refuses what systemd would not take for a slice", () => {
  for (const bad of ["", ".slice", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "a\n.slice", "a.scope", "/a"]) {
    assert.throws(() => expandSlice(bad), InvalidArgumentError, bad);
  }
});

Deno.test("cgroup names of a container under cgroupfs are below the pod's path", () => {
  const place = { driver: "cgroupfs", parent: "/kubepods/burstable/pod1", id: "abc" } as const;
  assert.equal(podCgroup(place), "/kubepods/burstable/pod1");
  assert.equal(runtimeCgroupsPath(place), "/kubepods/burstable/pod1/crio-abc");
  assert.equal(containerCgroup(place), "/kubepods/burstable/pod1/crio-abc");
  assert.equal(monitorCgroup(place), "/kubepods/burstable/pod1/crio-conmon-abc");
  assert.equal(runtimeCgroupsPath({ ...place, parent: "" }), "/crio/crio-abc");
  assert.equal(podCgroup({ ...place, parent: "a//b/" }), "/a/b");
  assert.equal(containerCgroup({ ...place, parent: "/" }), "/crio-abc");
});

Deno.test("cgroup names of a container under systemd are scopes in the pod's slice", () => {
  const place = { driver: "systemd", parent: SLICE, id: "abc" } as const;
  assert.equal(runtimeCgroupsPath(place), `${SLICE}:crio:abc`);
  assert.equal(containerCgroup(place), `${EXPANDED}/crio-abc.scope`);
  assert.equal(monitorCgroup(place), `${EXPANDED}/crio-conmon-abc.scope`);
  assert.equal(podCgroup({ ...place, parent: EXPANDED }), EXPANDED);
  assert.equal(runtimeCgroupsPath({ ...place, parent: "" }), "system.slice:crio:abc");
});

Deno.test("podCgroup() refuses a parent of the other driver and says what to set", () => {
  assert.throws(() => podCgroup({ driver: "cgroupfs", parent: SLICE }), /cgroup_manager is "cgroupfs"/);
  assert.throws(() => podCgroup({ driver: "systemd", parent: "/kubepods/pod1" }), /cgroup_manager is "systemd"/);
});

Deno.test("podCgroup() never leaves the hierarchy", () => {
  for (const bad of ["/a/../../etc", "..", "/a/./b", "/a\nb", "/" + "x".repeat(300)]) {
    assert.throws(() => podCgroup({ driver: "cgroupfs", parent: bad }), InvalidArgumentError, bad);
  }
  fc.assert(fc.property(fc.string(), (parent) => {
    for (const driver of ["cgroupfs", "systemd"] as const) {
      try {
        const path = podCgroup({ driver, parent });
        assert.ok(path.startsWith("/") && !path.split("/").includes("..") && !path.includes("\n"));
      } catch (error) {
        assert.ok(error instanceof InvalidArgumentError);
      }
    }
  }));
});

Deno.test("monitorHome() is the pod's cgroup with v1 and a leaf of its own with v2", () => {
  const place = { driver: "cgroupfs", parent: "/kubepods/pod1", id: "abc" } as const;
  assert.equal(monitorHome(place, "v2"), "/kubepods/pod1/crio-conmon-abc");
  assert.equal(monitorHome(place, "v1"), "/kubepods/pod1");
  assert.equal(monitorHome(place, "hybrid"), "/kubepods/pod1");
});
