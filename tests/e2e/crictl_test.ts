import assert from "node:assert/strict";
import { Crictl } from "./harness/crictl.ts";
import { Lab } from "./harness/lab.ts";

/** Prints its arguments, then works until SIGTERM, which gives exit code 7. */
const SCRIPT = `echo out; echo err >&2; trap 'exit 7' TERM; while true; do sleep 0.1; done`;

async function writeJson(path: string, document: unknown): Promise<string> {
  await Deno.writeTextFile(path, JSON.stringify(document));
  return path;
}

async function waitFor(what: string, check: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 15_000;
  while (!(await check())) {
    if (performance.now() > untilMs) throw new Error(`waited too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Building crictl needs Go, which is fetched where that is possible: without it this test is skipped, visibly.
const ignore = !(await Crictl.isAvailable());

Deno.test("crictl works with every command of a pod's life", { ignore }, async (t) => {
  await using lab = await Lab.start();
  const crictl = await Crictl.for(lab.daemon.spec.socketPath);
  const podFile = await writeJson(`${lab.directory}/pod.json`, {
    metadata: { name: "web", namespace: "shop", uid: "uid-1", attempt: 1 },
    hostname: "web",
    log_directory: `${lab.directory}/pods/web`,
    labels: { app: "web" },
    annotations: { note: "kept" },
    linux: { cgroup_parent: lab.cgroup.path },
  });
  const containerFile = await writeJson(`${lab.directory}/container.json`, {
    metadata: { name: "main", attempt: 2 },
    image: { image: lab.image },
    command: ["/bin/sh", "-c", SCRIPT],
    envs: [{ key: "COLOUR", value: "green" }],
    labels: { tier: "front" },
    log_path: "main.log",
    linux: {},
  });
  // Each step needs those before it.
  const step = async (name: string, work: () => Promise<void>): Promise<void> => {
    if (!(await t.step(name, work))) throw new Error(`the daemon's log ends with:\n${lab.daemon.logTail()}`);
  };
  let pod = "";
  let container = "";

  await step("version and info", async () => {
    const version = await crictl.run("version");
    assert.match(version, /RuntimeApiVersion: +v1/);
    const info = await crictl.json("info");
    const conditions = new Map<string, boolean>(
      info.status.conditions.map((one: { type: string; status: boolean }) => [one.type, one.status]),
    );
    assert.ok(conditions.get("RuntimeReady"));
    assert.ok(conditions.get("NetworkReady"));
  });

  await step("pull, images, inspecti, imagefsinfo", async () => {
    await crictl.run("pull", lab.image);
    const { images } = await crictl.json("images", "-o", "json");
    assert.equal(images.length, 1);
    assert.deepEqual(images[0].repoTags, [lab.image]);
    assert.ok(Number(images[0].size) > 100_000, `size is ${images[0].size}`);
    const inspected = await crictl.json("inspecti", lab.image);
    assert.equal(inspected.status.id, images[0].id);
    assert.match(inspected.status.repoDigests[0], /@sha256:[0-9a-f]{64}$/);
    const filesystem = async (): Promise<{ usedBytes: { value: string }; fsId: { mountpoint: string } }> => {
      const usage = await crictl.json("imagefsinfo");
      return (usage.status ?? usage).imageFilesystems[0];
    };
    // A daemon may count in the background.
    await waitFor("used bytes", async () => Number((await filesystem()).usedBytes.value) > 0);
    const first = await filesystem();
    assert.match(first.fsId.mountpoint, new RegExp(`^${lab.directory}`));
  });

  await step("runp, pods, inspectp", async () => {
    pod = await crictl.run("runp", podFile);
    assert.match(pod, /^[0-9a-f]{64}$/);
    const { items } = await crictl.json("pods", "-o", "json", "--label", "app=web");
    assert.deepEqual(items.map((item: { id: string }) => item.id), [pod]);
    assert.equal(items[0].state, "SANDBOX_READY");
    const { status } = await crictl.json("inspectp", pod);
    assert.match(status.network.ip, /^10\.238\.77\.\d+$/);
    assert.deepEqual(status.metadata, { attempt: 1, name: "web", namespace: "shop", uid: "uid-1" });
    assert.equal(status.annotations.note, "kept");
  });

  await step("create, start, ps, inspect", async () => {
    container = await crictl.run("create", pod, containerFile, podFile);
    assert.match(container, /^[0-9a-f]{64}$/);
    const created = await crictl.json("inspect", container);
    assert.equal(created.status.state, "CONTAINER_CREATED");
    await crictl.run("start", container);
    const { containers } = await crictl.json("ps", "-o", "json");
    assert.deepEqual(containers.map((one: { id: string }) => one.id), [container]);
    const { status } = await crictl.json("inspect", container);
    assert.equal(status.state, "CONTAINER_RUNNING");
    assert.equal(status.metadata.attempt, 2);
    assert.ok(Number(new Date(status.startedAt)) > Date.now() - 60_000);
  });

  await step("exec -s gives output and exit code", async () => {
    assert.equal(await crictl.run("exec", "-s", container, "/bin/sh", "-c", "echo $COLOUR; hostname"), "green\nweb");
    const failed = await crictl.try("exec", "-s", container, "/bin/sh", "-c", "echo bad >&2; exit 3");
    assert.notEqual(failed.code, 0);
    assert.match(failed.stdout + failed.stderr, /bad/);
    assert.match(failed.stderr, /\b3\b/);
  });

  await step("update", async () => {
    await crictl.run("update", "--cpu-share", "512", "--memory", String(64 * 1024 * 1024), container);
    const { status } = await crictl.json("inspect", container);
    assert.equal(Number(status.resources.linux.cpuShares), 512);
    assert.equal(Number(status.resources.linux.memoryLimitInBytes), 64 * 1024 * 1024);
  });

  await step("logs", async () => {
    await waitFor("two log lines", async () => (await crictl.try("logs", container)).stdout.includes("out"));
    const { stdout, stderr } = await crictl.try("logs", container);
    assert.equal(stdout, "out\n");
    assert.equal(stderr, "err\n");
    const raw = await Deno.readTextFile(`${lab.directory}/pods/web/main.log`);
    assert.match(raw, /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) stdout F out$/m);
  });

  await step("stop keeps the exit code, rm removes", async () => {
    await crictl.run("stop", "--timeout", "5", container);
    const { status } = await crictl.json("inspect", container);
    assert.equal(status.state, "CONTAINER_EXITED");
    assert.equal(status.exitCode, 7);
    await crictl.run("rm", container);
    assert.notEqual((await crictl.try("inspect", container)).code, 0);
  });

  await step("stopp, rmp, rmi leave nothing", async () => {
    await crictl.run("stopp", pod);
    assert.equal((await crictl.json("inspectp", pod)).status.state, "SANDBOX_NOTREADY");
    await crictl.run("rmp", pod);
    assert.equal(await crictl.run("pods", "-q"), "");
    await crictl.run("rmi", lab.image);
    // A daemon that needs an image for its pods keeps that one.
    assert.doesNotMatch(await crictl.run("images", "-o", "json"), /bench\/busybox/);
    assert.deepEqual(await lab.leaks(), []);
  });
});
