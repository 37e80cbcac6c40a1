import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import {
  annotatedCdiDevices,
  deviceNameProblem,
  kindProblem,
  parseCdiName,
} from "../../../../src/security/cdi/names.ts";

Deno.test("parseCdiName() splits full names", () => {
  deepStrictEqual(parseCdiName("vendor.com/gpu=0"), { kind: "vendor.com/gpu", name: "0" });
  deepStrictEqual(parseCdiName("a/b.c=GPU-1:0_x.y"), { kind: "a/b.c", name: "GPU-1:0_x.y" });
});

const WRONG = ["", "gpu", "/dev/nvidia0", "vendor.com=0", "vendor.com/gpu", "vendor.com/gpu=", "vendor.com/gpu=-a"];
WRONG.push("vendor.com/gpu=a-", "1vendor/gpu=0", "vendor./gpu=0", "vendor.com/gpu/x=0", "vendor com/gpu=0", "v/g=a=b");
for (const text of WRONG) {
  Deno.test(`parseCdiName() refuses ${JSON.stringify(text)}`, () => {
    throws(() => parseCdiName(text), /^InvalidArgumentError: CDI device .*the form is vendor\.example\/class=name/);
  });
}

Deno.test("kindProblem() and deviceNameProblem() follow the specification's alphabet", () => {
  strictEqual(kindProblem("a/b"), undefined);
  strictEqual(kindProblem("vendor.com/net-1_x"), undefined);
  ok(kindProblem("vendor.com") !== undefined);
  strictEqual(deviceNameProblem("0"), undefined);
  ok(deviceNameProblem("") !== undefined);
  ok(deviceNameProblem("a/b") !== undefined);
});

Deno.test("annotatedCdiDevices() collects what plugins wrote, and names a wrong annotation", () => {
  deepStrictEqual(
    annotatedCdiDevices({
      "cdi.k8s.io/p_1": "v.com/c=a,v.com/c=b",
      "other/cdi.k8s.io": "x",
      "cdi.k8s.io/q": "v.com/d=z",
    }),
    ["v.com/c=a", "v.com/c=b", "v.com/d=z"],
  );
  throws(() => annotatedCdiDevices({ "cdi.k8s.io/p": "v.com/c=a,," }), /annotation cdi\.k8s\.io\/p: CDI device ""/);
});
