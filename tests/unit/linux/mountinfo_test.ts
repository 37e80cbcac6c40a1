import assert from "node:assert/strict";
import fc from "fast-check";
import { isBelow, mountOf, parseMountInfo, readMounts } from "../../../src/linux/mountinfo.ts";

const LINES = [
  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro",
  "36 22 98:0 /mnt1 /mnt2\\040with\\011tab rw,noatime master:7 shared:3 propagate_from:2 unbindable - ext3 /dev/root rw",
  "40 22 0:50 / /a\\134b rw - overlay overlay lowerdir=/x",
  "41 22 0:51 net:[4026532276] /run/netns/x rw - nsfs nsfs rw",
];

Deno.test("parseMountInfo() reads fields, optional tags and escapes", () => {
  const [root, second, , namespace] = parseMountInfo(LINES.join("\n"));
  assert.equal(root?.shared, 1);
  assert.equal(root?.master, undefined);
  assert.deepEqual(root?.superOptions, ["rw", "errors=remount-ro"]);
  assert.equal(second?.mountPoint, "/mnt2 with\ttab");
  assert.equal(second?.master, 7);
  assert.equal(second?.shared, 3);
  assert.ok(second?.unbindable);
  assert.equal(namespace?.root, "net:[4026532276]");
});

Deno.test("parseMountInfo() leaves out what is no mount line", () => {
  for (
    const line of ["", "x", "1 2 3", "a b 8:1 / / rw - ext4 x rw", "1 2 8:1 / / rw ext4 x rw", "1 2 8:1 / / rw - ext4"]
  ) {
    assert.deepEqual(parseMountInfo(line), [], line);
  }
});

Deno.test("parseMountInfo() never throws", () => {
  fc.assert(fc.property(fc.string(), (text) => void parseMountInfo(text)));
});

Deno.test("mountOf() gives the last mount on the longest prefix", () => {
  const mounts = parseMountInfo([
    "1 0 8:1 / / rw - ext4 a rw",
    "2 1 8:2 / /var rw - ext4 b rw",
    "3 2 8:3 / /var rw - ext4 c rw",
    "4 1 8:4 / /variant rw - ext4 d rw",
  ].join("\n"));
  assert.equal(mountOf(mounts, "/var/lib")?.source, "c");
  assert.equal(mountOf(mounts, "/variant")?.source, "d");
  assert.equal(mountOf(mounts, "/vari")?.source, "a");
  assert.ok(isBelow("/var", "/var"));
  assert.ok(!isBelow("/variant", "/var"));
});

Deno.test("readMounts() sees this process's root", async () => {
  assert.ok((await readMounts()).some((mount) => mount.mountPoint === "/" || mount.mountPoint === "/proc"));
});
