import assert from "node:assert/strict";
import { Device, ImageSpec, Mount, MountPropagation } from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { pidOf } from "../harness/tries.ts";
import { type FieldBench, type FieldCheck, secured, securedPod } from "./check.ts";

/** A directory of the node with one file in it. */
async function source(bench: FieldBench): Promise<string> {
  const path = `${bench.lab.directory}/volume-${crypto.randomUUID()}`;
  await Deno.mkdir(path);
  await Deno.writeTextFile(`${path}/file`, "text");
  return path;
}

async function mounted(bench: FieldBench, fields: Partial<Mount>): Promise<string> {
  return await bench.container((config) => {
    config.mounts = [message(Mount, { containerPath: "/v", ...fields })];
  });
}

/** The optional fields of the mount at /v, as the container's mountinfo has them. */
async function peers(bench: FieldBench, id: string): Promise<string> {
  const lines = (await Deno.readTextFile(`/proc/${await pidOf(bench.lab, id)}/mountinfo`)).split("\n");
  return lines.find((line) => line.split(" ")[4] === "/v") ?? "";
}

async function shared<T>(bench: FieldBench, use: (path: string) => Promise<T>): Promise<T> {
  const path = await source(bench);
  const mount = async (...args: string[]): Promise<void> => {
    const { success } = await new Deno.Command("mount", { args }).output();
    assert.ok(success, args.join(" "));
  };
  await mount("--bind", path, path);
  await mount("--make-rshared", path);
  try {
    return await use(path);
  } finally {
    await new Deno.Command("umount", { args: ["-l", path] }).output();
  }
}

export const MOUNT_FIELDS: readonly FieldCheck[] = [
  {
    field: "ContainerConfig.mounts",
    shows: "the node's file is in the container",
    prove: async (bench) => {
      assert.equal(await bench.exec(await mounted(bench, { hostPath: await source(bench) }), "cat", "/v/file"), "text");
    },
  },
  {
    field: "Mount.containerPath",
    shows: "the node's file is there in the container",
    prove: async (bench) => {
      const id = await mounted(bench, { hostPath: await source(bench), containerPath: "/deep/place" });
      assert.equal(await bench.exec(id, "cat", "/deep/place/file"), "text");
    },
  },
  {
    field: "Mount.hostPath",
    shows: "that file of the node is in the container",
    prove: async (bench) => {
      assert.equal(await bench.exec(await mounted(bench, { hostPath: await source(bench) }), "cat", "/v/file"), "text");
    },
  },
  {
    field: "Mount.readonly",
    shows: "nothing can be written there",
    prove: async (bench) => {
      const id = await mounted(bench, { hostPath: await source(bench), readonly: true });
      assert.match(await bench.exec(id, "touch", "/v/x"), /Read-only file system/);
    },
  },
  {
    field: "Mount.propagation",
    shows: "the mount receives from the node's peer group",
    prove: async (bench) => {
      await shared(bench, async (hostPath) => {
        const id = await mounted(bench, { hostPath, propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER });
        assert.match(await peers(bench, id), / master:\d+ /);
        const pod = await bench.pod(securedPod({ privileged: true }));
        const both = await pod.start({
          change: (config) => {
            secured({ privileged: true })(config);
            const propagation = MountPropagation.PROPAGATION_BIDIRECTIONAL;
            config.mounts = [message(Mount, { containerPath: "/v", hostPath, propagation })];
          },
        });
        assert.match(await peers(bench, both), / shared:\d+ /);
      });
    },
  },
  {
    field: "Mount.recursiveReadOnly",
    shows: "a mount below it cannot be written either",
    skip: ({ recursiveReadOnly }) =>
      recursiveReadOnly === undefined ? "no runtime handler here offers such mounts" : undefined,
    prove: async (bench) => {
      const path = await source(bench);
      await Deno.mkdir(`${path}/below`);
      await new Deno.Command("mount", { args: ["-t", "tmpfs", "tmpfs", `${path}/below`] }).output();
      try {
        const pod = await bench.pod(() => {}, bench.host.recursiveReadOnly);
        const id = await pod.start({
          change: (config) => {
            const mount = { containerPath: "/v", hostPath: path, readonly: true, recursiveReadOnly: true };
            config.mounts = [message(Mount, mount)];
          },
        });
        assert.match(await bench.exec(id, "touch", "/v/below/x"), /Read-only file system/);
      } finally {
        await new Deno.Command("umount", { args: ["-l", `${path}/below`] }).output();
      }
    },
  },
  {
    field: "Mount.image",
    shows: "the files of that image are there, read-only",
    prove: async (bench) => {
      const id = await mounted(bench, { image: message(ImageSpec, { image: bench.lab.image }), readonly: true });
      assert.equal(await bench.exec(id, "ls", "/v/bin/busybox"), "/v/bin/busybox");
      assert.match(await bench.exec(id, "touch", "/v/x"), /Read-only file system/);
    },
  },
  {
    field: "Mount.imageSubPath",
    shows: "that directory of the image is there",
    prove: async (bench) => {
      const image = message(ImageSpec, { image: bench.lab.image });
      const id = await mounted(bench, { image, imageSubPath: "etc", readonly: true });
      assert.match(await bench.exec(id, "cat", "/v/passwd"), /^root:/);
    },
  },
  {
    field: "ContainerConfig.devices",
    shows: "the device is there and can be opened",
    prove: async (bench) => {
      const id = await device(bench, { permissions: "rw" });
      assert.equal(await bench.exec(id, "stat", "-c", "%t:%T", "/dev/mine"), "a:ed");
    },
  },
  {
    field: "Device.containerPath",
    shows: "the device is there, not at the node's path",
    prove: async (bench) => {
      assert.equal(await bench.exec(await device(bench, {}), "ls", "/dev/mine"), "/dev/mine");
    },
  },
  {
    field: "Device.hostPath",
    shows: "it is that device of the node",
    prove: async (bench) => {
      assert.equal(await bench.exec(await device(bench, {}), "stat", "-c", "%t:%T", "/dev/mine"), "a:ed");
    },
  },
  {
    field: "Device.permissions",
    shows: "with r alone it cannot be opened for writing",
    prove: async (bench) => {
      const id = await device(bench, { permissions: "r" });
      assert.match(await bench.shell(id, "exec 3<>/dev/mine && echo opened"), /not permitted/);
    },
  },
];

/** A container with /dev/loop-control as /dev/mine. */
async function device(bench: FieldBench, fields: Partial<Device>): Promise<string> {
  return await bench.container((config) => {
    config.devices = [message(Device, { hostPath: "/dev/loop-control", containerPath: "/dev/mine", ...fields })];
  });
}
