import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { type DeviceInput, grantedDevices } from "../../../src/container/devices.ts";
import { containerSpec } from "../../fakes/records.ts";

const policy = { additional: [], allowed: [], ownedByUser: false };

async function granted(changes: Partial<DeviceInput>): Promise<string[]> {
  const devices = await grantedDevices({
    spec: containerSpec(),
    annotations: {},
    policy,
    allDevices: false,
    ...changes,
  });
  return devices.map(({ device, permissions }) =>
    `${device.path} ${device.major}:${device.minor} ${permissions} ${
      device.fileMode?.toString(8) ?? "-"
    } ${device.uid}:${device.gid}`
  );
}

function asking(hostPath: string, changes: object = {}): DeviceInput["spec"] {
  const spec = containerSpec({ devices: [{ hostPath, containerPath: "/dev/mine", permissions: "r" }] });
  return { ...spec, security: { ...spec.security, ...changes } };
}

Deno.test("grantedDevices() gives the configuration's, then the annotation's, then the request's at the same path", async () => {
  const additional = ["/dev/null:/dev/mine:rw", "/dev/full:/dev/other"];
  const annotations = { "devices.crio.io": "/dev/zero:/dev/mine:m" };
  const allowed = ["/dev/zero"];
  deepStrictEqual(await granted({ policy: { ...policy, additional } }), [
    "/dev/mine 1:3 rw 666 0:0",
    "/dev/other 1:7 rwm 666 0:0",
  ]);
  deepStrictEqual(
    (await granted({ policy: { ...policy, additional, allowed }, annotations }))[0],
    "/dev/mine 1:5 m 666 0:0",
  );
  const all = await granted({ policy: { ...policy, additional, allowed }, annotations, spec: asking("/dev/random") });
  strictEqual(all[0], "/dev/mine 1:8 r - 0:0");
  await rejects(granted({ annotations }), /not among allowed_devices/);
});

Deno.test("grantedDevices() lets requested devices belong to the user when the configuration says so", async () => {
  const spec = asking("/dev/null", { runAsUser: 1000, runAsGroup: 2000 });
  deepStrictEqual(await granted({ spec }), ["/dev/mine 1:3 r - 0:0"]);
  deepStrictEqual(await granted({ spec, policy: { ...policy, ownedByUser: true } }), ["/dev/mine 1:3 r - 1000:2000"]);
});

Deno.test("grantedDevices() gives all, and refuses a path that the node has otherwise", async () => {
  const all = await granted({ allDevices: true });
  ok(all.some((line) => line.startsWith("/dev/null 1:3 rwm")), all.join("\n"));
  const taken = containerSpec({ devices: [{ hostPath: "/dev/null", containerPath: "/dev/zero", permissions: "r" }] });
  await rejects(granted({ allDevices: true, spec: taken }), /node's own \/dev\/zero/);
});
