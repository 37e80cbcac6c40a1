import { deepStrictEqual, throws } from "node:assert/strict";
import { parseDeviceAnnotation, parseDeviceLine } from "../../../../src/security/devices/device_line.ts";

const LINES = [
  ["/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"],
  ["/dev/fuse:rw", "/dev/fuse", "/dev/fuse", "rw"],
  ["/dev/fuse:/dev/mine", "/dev/fuse", "/dev/mine", "rwm"],
  ["/dev/fuse:/dev/mine:r", "/dev/fuse", "/dev/mine", "r"],
  ["/dev/fuse::m", "/dev/fuse", "/dev/fuse", "m"],
] as const;

for (const [line, hostPath, containerPath, permissions] of LINES) {
  Deno.test(`parseDeviceLine() reads ${line}`, () => {
    deepStrictEqual(parseDeviceLine(line, "test"), { hostPath, containerPath, permissions });
  });
}

const WRONG = [
  "",
  "fuse",
  "/dev/fuse:mine",
  "/dev/fuse:/dev/mine:x",
  "/dev/fuse:/dev/mine:rr",
  "/dev/fuse:/dev/mine:rwm:more",
  "/dev/fuse:/etc/passwd",
  "/dev/fuse:/dev/",
  "/dev/fuse:/dev/../etc/passwd",
  "/srv/node",
];

for (const line of WRONG) {
  Deno.test(`parseDeviceLine() refuses ${JSON.stringify(line)}, naming where it stands`, () => {
    throws(() => parseDeviceLine(line, "the test"), /^InvalidArgumentError: the test: device .* the form is host-path/);
  });
}

Deno.test("parseDeviceAnnotation() reads a list and refuses what is not allowed", () => {
  const allowed = ["/dev/fuse", "/dev/kvm"];
  deepStrictEqual(
    parseDeviceAnnotation("/dev/fuse, /dev/kvm:/dev/vm:r,", allowed).map(({ containerPath }) => containerPath),
    [
      "/dev/fuse",
      "/dev/vm",
    ],
  );
  deepStrictEqual(parseDeviceAnnotation("", allowed), []);
  throws(
    () => parseDeviceAnnotation("/dev/sda", allowed),
    /\/dev\/sda is not among allowed_devices .*\/dev\/fuse, \/dev\/kvm/,
  );
  throws(() => parseDeviceAnnotation("/dev/fuse/../sda:/dev/x", allowed), /not among allowed_devices/);
  throws(() => parseDeviceAnnotation("/dev/fuse", []), /none/);
});
