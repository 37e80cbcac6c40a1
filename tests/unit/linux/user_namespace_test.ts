import assert from "node:assert/strict";
import { runCommand } from "../../../src/linux/command.ts";
import { elfProgram } from "../../../src/linux/elf_program.ts";
import { isNamespacePinned, pinNamespaces, unpinNamespace } from "../../../src/linux/namespaces.ts";
import { openUserNamespace, pingGroupRange, pinOwnedNamespaces } from "../../../src/linux/user_namespace.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const MAPS = {
  uidMaps: [{ containerId: 0, hostId: 200_000, length: 65_536 }],
  gidMaps: [{ containerId: 0, hostId: 300_000, length: 65_536 }],
};

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "userns-" });
  const before = await Deno.readLink("/proc/self/ns/net");
  try {
    await body(directory);
  } finally {
    assert.equal(await Deno.readLink("/proc/thread-self/ns/net"), before);
    for (const kind of ["userns", "netns", "ipcns", "utsns"]) unpinNamespace(`${directory}/${kind}/a`);
    await Deno.remove(directory, { recursive: true });
  }
}

/** What a shell says inside the pins, as root of the user namespace. */
async function inside(pins: Readonly<Record<string, string | undefined>>, script: string): Promise<string[]> {
  const option = { user: "--user", network: "--net", ipc: "--ipc", uts: "--uts" } as Record<string, string>;
  const argv = Object.entries(pins).map(([kind, path]) => `${option[kind]}=${path}`);
  const { stdout } = await runCommand(["/usr/bin/nsenter", ...argv, "--setuid=0", "--setgid=0", "sh", "-c", script]);
  return new TextDecoder().decode(stdout).trim().split("\n");
}

Deno.test("pinOwnedNamespaces() pins namespaces that belong to a user namespace with the given maps", async () => {
  await withDirectory(async (directory) => {
    const pins = await pinOwnedNamespaces({
      directory,
      name: "a",
      kinds: ["network", "ipc", "uts"],
      hostname: "pod-a",
      sysctls: { "net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "9" },
      maps: MAPS,
    });
    assert.deepEqual(Object.keys(pins).sort(), ["ipc", "network", "user", "uts"]);
    for (const path of Object.values(pins)) assert.ok(isNamespacePinned(path ?? ""));
    const lines = await inside(
      pins,
      `tr -s " " </proc/self/uid_map; tr -s " " </proc/self/gid_map; hostname; cd /proc/sys
       cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced fs/mqueue/msg_max
       hostname renamed; hostname; ip -br addr show lo; ip link set lo down && echo down`,
    );
    assert.deepEqual(lines.slice(0, 7), ["0 200000 65536", " 0 300000 65536", "pod-a", "7", "1", "9", "renamed"]);
    assert.match(lines[7] ?? "", /127\.0\.0\.1\/8/);
    assert.equal(lines[8], "down");
  });
});

Deno.test("pinOwnedNamespaces() takes ids of the upper half of their range", async () => {
  await withDirectory(async (directory) => {
    const mapping = [{ containerId: 0, hostId: 4_000_000_000, length: 65_536 }];
    const maps = { uidMaps: mapping, gidMaps: mapping };
    const sysctls = { "kernel.shm_rmid_forced": "1" };
    const pins = await pinOwnedNamespaces({ directory, name: "a", kinds: ["ipc", "uts"], maps, sysctls });
    const lines = await inside(pins, `tr -s " " </proc/self/uid_map; cat /proc/sys/kernel/shm_rmid_forced`);
    assert.deepEqual(lines, ["0 4000000000 65536", "1"]);
  });
});

Deno.test("pinOwnedNamespaces() leaves nothing when a step fails", async () => {
  await withDirectory(async (directory) => {
    const overlapping = [...MAPS.uidMaps, { containerId: 5, hostId: 500_000, length: 10 }];
    const maps = { ...MAPS, uidMaps: overlapping };
    await assert.rejects(pinOwnedNamespaces({ directory, name: "a", kinds: ["ipc"], maps }), /uid_map/);
    const taken = pinNamespaces({ directory, name: "a", kinds: ["ipc"] });
    await assert.rejects(pinOwnedNamespaces({ directory, name: "a", kinds: ["ipc"], maps: MAPS }), /exists/);
    assert.ok(isNamespacePinned(taken.ipc ?? ""));
    assert.ok(!isNamespacePinned(`${directory}/userns/a`));
  });
});

Deno.test("openUserNamespace() gives a namespace that is gone afterwards", async () => {
  let path = "";
  {
    await using namespace = await openUserNamespace(MAPS);
    path = namespace.path;
    assert.equal((await inside({ user: path }, "cat /proc/self/uid_map")).join("").trim().split(/\s+/)[1], "200000");
  }
  await assert.rejects(Deno.lstat(path), Deno.errors.NotFound);
});

Deno.test("pingGroupRange() names the node's groups and stops at the end of the map", () => {
  assert.equal(pingGroupRange("0 2147483647", MAPS.gidMaps), "300000 365535");
  assert.equal(pingGroupRange("10\t20", MAPS.gidMaps), "300010 300020");
  assert.equal(pingGroupRange("1 0", MAPS.gidMaps), "1 0");
});

Deno.test("elfProgram() refuses an architecture that it does not know", () => {
  assert.throws(() => elfProgram({ x86_64: "90" }, "riscv64"), TypeError);
});
