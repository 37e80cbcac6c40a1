import { deepEqual } from "node:assert/strict";
import { BlockDeviceNames } from "../../../src/linux/block_devices.ts";

Deno.test("BlockDeviceNames.find() names devices, and looks again after a minute", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-block-" });
  try {
    await Deno.symlink("../../devices/pci0/virtio1/block/vda", `${directory}/254:0`);
    await Deno.symlink("../../devices/cciss0/block/cciss!c0d0", `${directory}/104:0`);
    let nowMs = 100_000;
    const names = new BlockDeviceNames({ monotonicMs: () => nowMs }, directory);
    const find = (major: number): string | undefined => names.find({ major, minor: 0 });
    deepEqual([find(254), find(104), find(9)], ["/dev/vda", "/dev/cciss/c0d0", undefined]);
    await Deno.remove(`${directory}/254:0`);
    await Deno.symlink("../../block/new", `${directory}/9:0`);
    deepEqual([find(254), find(9)], ["/dev/vda", undefined]);
    nowMs += 60_001;
    deepEqual([find(254), find(9)], [undefined, "/dev/new"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
