import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { readCdiDocument } from "../../../../src/security/cdi/document.ts";

type Json = Record<string, unknown>;

function document(changes: Json = {}, edits: Json = { env: ["A=1"] }): Json {
  return {
    cdiVersion: "0.3.0",
    kind: "vendor.com/gpu",
    devices: [{ name: "one", containerEdits: edits }],
    ...changes,
  };
}

Deno.test("readCdiDocument() reads every field of the newest version", () => {
  const edits = {
    env: ["A=1", "B="],
    deviceNodes: [
      {
        path: "/dev/x",
        hostPath: "/dev/y",
        type: "c",
        major: 1,
        minor: 2,
        fileMode: 0o660,
        permissions: "rw",
        uid: 3,
        gid: 4,
      },
    ],
    netDevices: [{ hostInterfaceName: "eth1", name: "net1" }],
    mounts: [{ hostPath: "/a", containerPath: "/b", options: ["ro", "bind"], type: "bind" }],
    hooks: [{ hookName: "createContainer", path: "/bin/h", args: ["h"], env: ["C=2"], timeout: 3 }],
    additionalGids: [5],
    intelRdt: {
      closID: "c",
      l3CacheSchema: "L3:0=f",
      memBwSchema: "MB:0=10",
      schemata: ["L2:0=f"],
      enableMonitoring: true,
      enableCMT: false,
      enableMBM: true,
    },
  };
  const { kind, devices, edits: common } = readCdiDocument(
    document({ cdiVersion: "1.1.0", containerEdits: { env: ["ALL=1"] }, annotations: { a: "b" } }, edits),
  );
  strictEqual(kind, "vendor.com/gpu");
  deepStrictEqual(devices.get("one"), edits);
  deepStrictEqual(common, { env: ["ALL=1"] });
});

const VERSIONED: ReadonlyArray<readonly [what: string, since: string, changes: Json, edits?: Json]> = [
  ["mounts.type", "0.4.0", {}, { mounts: [{ hostPath: "/a", containerPath: "/b", type: "bind" }] }],
  ["deviceNodes.hostPath", "0.5.0", {}, { deviceNodes: [{ path: "/dev/a", hostPath: "/dev/b" }] }],
  ["a device name that begins with a digit", "0.5.0", { devices: [{ name: "0", containerEdits: { env: ["A=1"] } }] }],
  ["annotations", "0.6.0", { annotations: { a: "b" } }],
  ["a class with a dot", "0.6.0", { kind: "vendor.com/gpu.x" }],
  ["additionalGids", "0.7.0", { containerEdits: { additionalGids: [7] } }],
  ["intelRdt", "0.7.0", {}, { intelRdt: { closID: "a" } }],
  ["netDevices", "1.1.0", {}, { netDevices: [{ hostInterfaceName: "a", name: "b" }] }],
  ["intelRdt.schemata", "1.1.0", {}, { intelRdt: { schemata: ["x"] } }],
];

for (const [what, since, changes, edits] of VERSIONED) {
  Deno.test(`readCdiDocument() knows ${what} from ${since} on`, () => {
    readCdiDocument(document({ ...changes, cdiVersion: since }, edits));
    const older = since === "1.1.0" ? "1.0.0" : "0.3.0";
    throws(() => readCdiDocument(document({ ...changes, cdiVersion: older }, edits)), {
      message: new RegExp(`${older} has no .*: that came with ${since}`),
    });
  });
}

const WRONG: ReadonlyArray<readonly [message: RegExp, value: unknown]> = [
  [/is not an object/, "text"],
  [/cdiVersion: is missing/, document({ cdiVersion: undefined })],
  [/cdiVersion: "1\.2\.0" is not known; the newest is 1\.1\.0/, document({ cdiVersion: "1.2.0" })],
  [/kind: "vendor" is not/, document({ kind: "vendor" })],
  [/surprise: is not known/, document({ surprise: 1 })],
  [/devices: lists none/, document({ devices: [] })],
  [/devices\[1\]\.name: "one" is there twice/, document({ devices: [one(), one()] })],
  [/devices\[0\]\.containerEdits: changes nothing/, document({}, {})],
  [/devices\[0\]\.containerEdits\.env: "A" is not NAME=value/, document({}, { env: ["A"] })],
  [/deviceNodes\[0\]\.path: is missing/, document({}, { deviceNodes: [{}] })],
  [/deviceNodes\[0\]\.path: "dev" is not an absolute/, document({}, { deviceNodes: [{ path: "dev" }] })],
  [/deviceNodes\[0\]\.type: "x" is not one of/, document({}, { deviceNodes: [{ path: "/dev/x", type: "x" }] })],
  [/permissions: "x" is not some of/, document({}, { deviceNodes: [{ path: "/dev/x", permissions: "x" }] })],
  [/major: is not a whole number/, document({}, { deviceNodes: [{ path: "/dev/x", major: -1 }] })],
  [/deviceNodes\[0\]\.extra: is not known/, document({}, { deviceNodes: [{ path: "/dev/x", extra: 1 }] })],
  [/mounts\[0\]\.hostPath: is missing/, document({}, { mounts: [{ containerPath: "/x" }] })],
  [/hookName: "later" is not one of/, document({}, { hooks: [{ hookName: "later", path: "/h" }] })],
  [/hooks\[0\]\.path/, document({}, { hooks: [{ hookName: "prestart", path: "h" }] })],
  [/additionalGids\[0\]: is not a user or group id/, document({}, { additionalGids: [-1] })],
  [/closID: "a\/b" is not a file name/, document({}, { intelRdt: { closID: "a/b" } })],
];

function one(): Json {
  return { name: "one", containerEdits: { env: ["A=1"] } };
}

for (const [message, value] of WRONG) {
  Deno.test(`readCdiDocument() refuses with ${message.source}`, () => {
    throws(() => readCdiDocument(value), { message });
  });
}
