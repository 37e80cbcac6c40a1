import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { allHostDevices, hostDevices } from "../../../../src/security/devices/host_devices.ts";

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const target = { containerPath: "/dev/x", permissions: "rw" };

Deno.test("hostDevices() gives the numbers of a device, through a link too", async () => {
  await withDirectory(async (directory) => {
    await Deno.symlink("/dev/null", `${directory}/link`);
    for (const hostPath of ["/dev/null", `${directory}/link`]) {
      const [found] = await hostDevices({ hostPath, ...target });
      strictEqual(found?.permissions, "rw");
      const { path, type, major, minor, fileMode, uid } = found.device;
      deepStrictEqual([path, type, major, minor, fileMode, uid], ["/dev/x", "c", 1, 3, 0o666, 0]);
    }
  });
});

Deno.test("hostDevices() refuses what is missing, a file, and a directory without devices", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    await Deno.symlink("/dev/null", `${directory}/link`);
    const at = (hostPath: string): Promise<unknown> => hostDevices({ hostPath, ...target });
    await rejects(at(`${directory}/missing`), /missing does not exist on this node/);
    await rejects(at(`${directory}/file`), /file is not a device file/);
    await rejects(at(directory), /has no device/);
  });
});

Deno.test("allHostDevices() leaves out what a container has of its own", async () => {
  const paths = (await allHostDevices()).map(({ device }) => device.path);
  ok(paths.includes("/dev/null"));
  ok(!paths.includes("/dev/ptmx") && !paths.includes("/dev/console"));
  ok(!paths.some((path) => path.startsWith("/dev/pts/") || path.startsWith("/dev/fd/")), paths.join(" "));
});
