import assert from "node:assert/strict";
import { AlreadyExistsError, InvalidArgumentError, StageError } from "../../../src/base/errors.ts";
import { runCommand } from "../../../src/linux/command.ts";
import {
  inNetworkNamespace,
  isNamespacePinned,
  pinNamespaceOfProcess,
  pinNamespaces,
  unpinNamespace,
} from "../../../src/linux/namespaces.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

const own = (): string[] => ["net", "ipc", "uts"].map((file) => Deno.readLinkSync(`/proc/thread-self/ns/${file}`));

openLibraries();

async function withDirectory(body: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ns-" });
  const before = own();
  try {
    await body(directory);
    assert.deepEqual(own(), before, "the thread is back in its namespaces");
  } finally {
    for (const path of pinsBelow(directory)) unpinNamespace(path);
    assert.deepEqual(pinsBelow(directory), [], "no mount is left");
    await Deno.remove(directory, { recursive: true });
  }
}

function pinsBelow(directory: string): string[] {
  const mounts = Deno.readTextFileSync("/proc/self/mountinfo").split("\n");
  return mounts.map((line) => line.split(" ")[4] ?? "").filter((path) => path.startsWith(`${directory}/`));
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim();

Deno.test("pinNamespaces() pins network, ipc and uts with lo up, hostname and sysctls", async () => {
  await withDirectory(async (directory) => {
    const pins = pinNamespaces({
      directory,
      name: "a",
      kinds: ["network", "ipc", "uts"],
      hostname: "pod-a",
      sysctls: { "net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "9" },
    });
    assert.deepEqual(pins, {
      network: `${directory}/netns/a`,
      ipc: `${directory}/ipcns/a`,
      uts: `${directory}/utsns/a`,
    });
    for (const path of Object.values(pins)) assert.ok(isNamespacePinned(path));
    const script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced " +
      "/proc/sys/fs/mqueue/msg_max; ip -br addr show lo";
    const argv = ["/usr/bin/nsenter", `--net=${pins.network}`, `--ipc=${pins.ipc}`, `--uts=${pins.uts}`];
    const { stdout } = await runCommand([...argv, "sh", "-c", script]);
    const lines = text(stdout).split("\n");
    assert.deepEqual(lines.slice(0, 4), ["pod-a", "7", "1", "9"]);
    assert.match(lines[4] ?? "", /127\.0\.0\.1\/8/);
    for (const path of Object.values(pins)) {
      unpinNamespace(path);
      assert.ok(!isNamespacePinned(path));
      assert.throws(() => Deno.lstatSync(path), Deno.errors.NotFound);
    }
  });
});

Deno.test("pinNamespaces() pins only the kinds asked for", async () => {
  await withDirectory((directory) => {
    assert.deepEqual(pinNamespaces({ directory, name: "a", kinds: ["ipc"] }), { ipc: `${directory}/ipcns/a` });
    assert.deepEqual(pinNamespaces({ directory, name: "b", kinds: [] }), {});
  });
});

Deno.test("pinNamespaces() undoes everything when a step fails", async () => {
  await withDirectory((directory) => {
    const kinds = ["network", "ipc"] as const;
    const bad = { "net.ipv4.no_such_file": "1" };
    assert.throws(() => pinNamespaces({ directory, name: "a", kinds, sysctls: bad }), (error: unknown) => {
      assert.ok(error instanceof StageError);
      assert.match(error.message, /set sysctl .*no_such_file to "1": open .*ENOENT/);
      return true;
    });
    assert.deepEqual([...Deno.readDirSync(`${directory}/netns`)], []);
    assert.deepEqual([...Deno.readDirSync(`${directory}/ipcns`)], []);
  });
});

Deno.test("pinNamespaces() refuses a taken name and leaves its owner alone", async () => {
  await withDirectory((directory) => {
    const pins = pinNamespaces({ directory, name: "a", kinds: ["network"] });
    assert.throws(() => pinNamespaces({ directory, name: "a", kinds: ["uts", "network"] }), AlreadyExistsError);
    assert.ok(isNamespacePinned(pins.network ?? ""));
    assert.deepEqual([...Deno.readDirSync(`${directory}/utsns`)], []);
  });
});

Deno.test("pinNamespaces() refuses bad names, hostnames and sysctls of the node", async () => {
  await withDirectory((directory) => {
    const base = { directory, name: "a", kinds: ["network", "uts"] as const };
    const cases: ReadonlyArray<Partial<Parameters<typeof pinNamespaces>[0]>> = [
      { name: "../a" },
      { name: "" },
      { hostname: "x".repeat(65) },
      { hostname: "" },
      { hostname: "a", kinds: ["network"] },
      { sysctls: { "vm.swappiness": "1" } },
      { sysctls: { "kernel.panic": "1" } },
      { sysctls: { "kernel.shmmax": "1" } },
      { sysctls: { "net/../vm/swappiness": "1" } },
      { sysctls: { "net..x": "1" } },
      { sysctls: { "kernel.sem/../panic": "1" }, kinds: ["ipc"] },
      { sysctls: { "net.ipv4.ip_forward": "1" }, kinds: ["ipc"] },
    ];
    for (const change of cases) {
      assert.throws(() => pinNamespaces({ ...base, ...change }), InvalidArgumentError, JSON.stringify(change));
    }
  });
});

Deno.test("unpinNamespace() is idempotent and removes a file that a crash left", async () => {
  await withDirectory((directory) => {
    unpinNamespace(`${directory}/netns/none`);
    Deno.writeTextFileSync(`${directory}/plain`, "");
    assert.ok(!isNamespacePinned(`${directory}/plain`));
    unpinNamespace(`${directory}/plain`);
    assert.throws(() => Deno.lstatSync(`${directory}/plain`), Deno.errors.NotFound);
  });
});

Deno.test("inNetworkNamespace() is inside for the body only, also when it throws", async () => {
  await withDirectory((directory) => {
    const { network = "" } = pinNamespaces({ directory, name: "a", kinds: ["network"] });
    const link = (): string => Deno.readLinkSync("/proc/thread-self/ns/net");
    const outside = link();
    const inside = inNetworkNamespace(network, link);
    assert.notEqual(inside, outside);
    assert.equal(link(), outside);
    assert.throws(() =>
      inNetworkNamespace(network, () => {
        throw new RangeError("x");
      }), RangeError);
    assert.equal(link(), outside);
    assert.throws(() => inNetworkNamespace(`${directory}/none`, link), /ENOENT/);
    assert.throws(() => inNetworkNamespace("/dev/null", link), /setns \/dev\/null.*EINVAL/);
  });
});

Deno.test("pinNamespaceOfProcess() pins the namespace of a child", async () => {
  await withDirectory(async (directory) => {
    const child = new Deno.Command("/usr/bin/unshare", {
      args: ["-n", "sh", "-c", "echo; read x"],
      stdin: "piped",
      stdout: "piped",
    })
      .spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    const path = pinNamespaceOfProcess(child.pid, { directory, name: "c", kind: "network" });
    assert.equal(
      inNetworkNamespace(path, () => Deno.readLinkSync("/proc/thread-self/ns/net")),
      await Deno.readLink(`/proc/${child.pid}/ns/net`),
    );
    await reader.cancel();
    await child.stdin.close();
    await child.status;
    assert.ok(isNamespacePinned(path));
    assert.throws(() => pinNamespaceOfProcess(child.pid, { directory, name: "d", kind: "network" }), StageError);
  });
});
