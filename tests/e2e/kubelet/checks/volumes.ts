import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { shell, SLEEPER } from "../commands.ts";
import { mountAt } from "../kernel.ts";
import { run } from "../kubelet.ts";
import type { TestNode } from "../node.ts";
import type { Fields } from "../pod_types.ts";
import { handlerLacks } from "../skips.ts";

function mount(name: string, mountPath: string, more: Fields = {}): Fields {
  return { name, mountPath, ...more };
}

/** A directory of the node that is a shared mount: what is mounted below it is seen in its peers and slaves. */
async function sharedDirectory(node: TestNode, name: string): Promise<string> {
  const path = await node.hostDirectory(name);
  await run("mount", "--bind", path, path);
  await run("mount", "--make-rshared", path);
  return path;
}

export const VOLUMES: readonly Check[] = [
  check("an emptyDir is shared by a pod's containers and goes with the pod", async (node) => {
    const volumeMounts = [mount("data", "/data")];
    const pod = await node.run("empty-dir", {
      containers: [
        { name: "one", command: shell("echo 'from one' >/data/file; exec sleep 100000"), volumeMounts },
        { name: "two", command: SLEEPER, volumeMounts },
      ],
      volumes: [{ name: "data", emptyDir: {} }],
    });
    const { metadata } = await pod.ready();
    assert.equal(await pod.shell("two", "cat /data/file"), "from one");
    const path = `${node.kubelet.rootDirectory}/pods/${metadata.uid}`;
    assert.equal(await Deno.readTextFile(`${path}/volumes/kubernetes.io~empty-dir/data/file`), "from one\n");
    await pod.delete();
    await node.gone(path);
  }),
  check("an emptyDir in memory is a tmpfs of its size, unmounted with the pod", async (node) => {
    const pod = await node.run("memory-dir", {
      containers: [{ name: "main", command: SLEEPER, volumeMounts: [mount("data", "/data")] }],
      volumes: [{ name: "data", emptyDir: { medium: "Memory", sizeLimit: "8Mi" } }],
    });
    const { metadata } = await pod.ready();
    const found = await mountAt(await pod.pid("main"), "/data");
    assert.equal(found?.type, "tmpfs");
    assert.ok(found.options.includes("size=8192k"), found.options.join());
    await pod.delete();
    await node.gone(`${node.kubelet.rootDirectory}/pods/${metadata.uid}`);
  }),
  check("a hostPath is written by one container and read-only for another", async (node) => {
    const path = await node.hostDirectory("host-path");
    await Deno.writeTextFile(`${path}/file`, "of the node\n");
    const pod = await node.run("host-path", {
      containers: [
        { name: "writer", command: SLEEPER, volumeMounts: [mount("host", "/host")] },
        { name: "reader", command: SLEEPER, volumeMounts: [mount("host", "/host", { readOnly: true })] },
      ],
      volumes: [{ name: "host", hostPath: { path, type: "Directory" } }],
    });
    await pod.ready();
    await pod.shell("writer", "cat /host/file >/host/copy");
    assert.equal(await Deno.readTextFile(`${path}/copy`), "of the node\n");
    const refused = await pod.exec("reader", shell("echo no >/host/more"));
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr, /Read-only file system/);
    await pod.delete();
  }),
  check("a hostPath may be one file", async (node) => {
    const path = `${await node.hostDirectory("host-file")}/made`;
    const pod = await node.run("host-file", {
      containers: [{ name: "main", command: SLEEPER, volumeMounts: [mount("file", "/etc/own.conf")] }],
      volumes: [{ name: "file", hostPath: { path, type: "FileOrCreate" } }],
    });
    await pod.ready();
    await pod.shell("main", "echo written >/etc/own.conf");
    assert.equal(await Deno.readTextFile(path), "written\n");
    await pod.delete();
  }),
  check("subPath and subPathExpr mount a part of a volume", async (node) => {
    const path = await node.hostDirectory("sub-path");
    await Deno.mkdir(`${path}/part`);
    await Deno.writeTextFile(`${path}/part/file`, "a part\n");
    const pod = await node.run("sub-path", {
      containers: [{
        name: "main",
        command: SLEEPER,
        env: [{ name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
        volumeMounts: [
          mount("host", "/part", { subPath: "part" }),
          mount("host", "/one-file", { subPath: "part/file" }),
          mount("host", "/own", { subPathExpr: "of-$(POD)" }),
        ],
      }],
      volumes: [{ name: "host", hostPath: { path } }],
    });
    const { metadata } = await pod.ready();
    assert.equal(await pod.shell("main", "cat /part/file /one-file; echo own >/own/file"), "a part\na part");
    assert.equal(await Deno.readTextFile(`${path}/of-${metadata.name}/file`), "own\n");
    await pod.delete();
  }),
  check("a downwardAPI volume tells the pod about itself", async (node) => {
    const items = [
      { path: "labels", fieldRef: { fieldPath: "metadata.labels" } },
      { path: "cpu", resourceFieldRef: { containerName: "main", resource: "limits.cpu", divisor: "1m" } },
    ];
    const pod = await node.run("downward", {
      containers: [{
        name: "main",
        command: SLEEPER,
        resources: { limits: { cpu: "250m" } },
        volumeMounts: [mount("told", "/told")],
      }],
      volumes: [{ name: "told", downwardAPI: { items } }],
    }, { labels: { colour: "green" } });
    await pod.ready();
    assert.equal(await pod.shell("main", "cat /told/labels; echo; cat /told/cpu"), 'colour="green"\n250');
    await pod.delete();
  }),
  check("HostToContainer: what the node mounts later is seen in the container", async (node) => {
    const path = await sharedDirectory(node, "to-container");
    const pod = await node.run("to-container", {
      containers: [{
        name: "main",
        command: SLEEPER,
        volumeMounts: [mount("host", "/host", { mountPropagation: "HostToContainer" }), mount("host", "/private")],
      }],
      volumes: [{ name: "host", hostPath: { path } }],
    });
    await pod.ready();
    await Deno.mkdir(`${path}/late`);
    await run("mount", "-t", "tmpfs", "tmpfs", `${path}/late`);
    await Deno.writeTextFile(`${path}/late/file`, "late\n");
    assert.equal(await pod.shell("main", "cat /host/late/file; ls /private/late"), "late");
    await pod.delete();
    await run("umount", `${path}/late`);
    await run("umount", path);
  }),
  check("Bidirectional: what a privileged container mounts is seen on the node", async (node) => {
    const path = await sharedDirectory(node, "to-host");
    const pod = await node.run("to-host", {
      containers: [{
        name: "main",
        command: SLEEPER,
        securityContext: { privileged: true },
        volumeMounts: [mount("host", "/host", { mountPropagation: "Bidirectional" })],
      }],
      volumes: [{ name: "host", hostPath: { path } }],
    });
    await pod.ready();
    await pod.shell("main", "mkdir /host/own; mount -t tmpfs tmpfs /host/own; echo mine >/host/own/file");
    assert.equal(await Deno.readTextFile(`${path}/own/file`), "mine\n");
    await pod.delete();
    await run("umount", "-R", path);
  }),
  check("recursiveReadOnly covers the mounts below a volume", async (node) => {
    const path = await node.hostDirectory("recursive");
    await Deno.mkdir(`${path}/below`);
    await run("mount", "-t", "tmpfs", "tmpfs", `${path}/below`);
    const pod = await node.run("recursive", {
      containers: [{
        name: "main",
        command: SLEEPER,
        volumeMounts: [mount("host", "/host", { readOnly: true, recursiveReadOnly: "Enabled" })],
      }],
      volumes: [{ name: "host", hostPath: { path } }],
    });
    await pod.ready();
    const refused = await pod.exec("main", ["touch", "/host/below/file"]);
    assert.match(refused.stderr, /Read-only file system/);
    await pod.delete();
    await run("umount", `${path}/below`);
    // A kubelet without an API server has no runtime classes, and takes the feature for absent.
  }, { modes: ["cluster"], skip: (node) => handlerLacks(node, "recursiveReadOnlyMounts") }),
  check("an image is mounted as a volume, read-only, a part of it too", async (node) => {
    const reference = node.image.replace("busybox", "nobody");
    const pod = await node.run("image-volume", {
      containers: [{
        name: "main",
        command: SLEEPER,
        volumeMounts: [mount("image", "/image"), mount("image", "/part", { subPath: "srv" })],
      }],
      volumes: [{ name: "image", image: { reference, pullPolicy: "IfNotPresent" } }],
    });
    await pod.ready();
    assert.equal(await pod.shell("main", "stat -c %s /image/srv/data /part/data"), "8388608\n8388608");
    const refused = await pod.exec("main", ["touch", "/image/file"]);
    assert.match(refused.stderr, /Read-only file system/);
    await pod.delete();
  }),
];
