/** What a reboot, an upgrade and an unclean shutdown remove, at the daemon's start and by `crio wipe`. */
import assert from "node:assert/strict";
import { killAll } from "./harness/cleanup.ts";
import { cniPluginDir } from "./harness/crio.ts";
import { Lab } from "./harness/lab.ts";
import { powerCut } from "./harness/reboot.ts";
import { crioOf, podmanDone, podmanOf } from "./harness/store_tools.ts";
import { pidOf, PodUnderTest, until } from "./harness/tries.ts";

const EXTERNAL = "[crio]\ninternal_wipe = false\n";

async function imagesOf(lab: Lab): Promise<string[]> {
  return (await lab.daemon.client.call("listImages", {})).images.flatMap(({ repoTags }) => repoTags);
}

async function podsOf(lab: Lab): Promise<string[]> {
  return (await lab.daemon.client.call("listPodSandbox", {})).items.map(({ id }) => id);
}

/** A pod with a container; gives it and the container's process. */
async function busyPod(lab: Lab, name: string): Promise<{ pod: PodUnderTest; pid: number }> {
  const pod = await PodUnderTest.run(lab, name);
  return { pod, pid: await pidOf(lab, await pod.start({})) };
}

/** Ids of the containers in the store. */
async function storedOf(lab: Lab): Promise<string[]> {
  const text = await Deno.readTextFile(`${lab.directory}/root/overlay-containers/volatile-containers.json`);
  return JSON.parse(text).map(({ id }: { id: string }) => id);
}

const exists = (path: string): Promise<boolean> => Deno.lstat(path).then(() => true, () => false);

Deno.test("after a reboot the daemon removes pods and containers, and keeps images and podman's containers", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const { pid } = await busyPod(lab, "old");
  await podmanOf(lab, "create", "--name", "podmans", lab.image, "/bin/true");
  await powerCut(lab, [pid]);
  await lab.daemon.start();
  assert.deepEqual(await podsOf(lab), []);
  assert.deepEqual((await lab.daemon.client.call("listContainers", {})).containers, []);
  assert.deepEqual(await imagesOf(lab), [lab.image]);
  assert.equal(await podmanOf(lab, "ps", "-a", "--format", "{{.Names}}"), "podmans");
  assert.equal(await Deno.readTextFile(`${lab.directory}/version`), '"1.37.0"');
  await podmanOf(lab, "rm", "podmans");
  await podmanDone(lab);
  assert.deepEqual(await lab.leaks(), [], "the addresses were given back");
});

/** A bridge plugin whose DEL fails as long as the file `broken` is there, and hangs as long as `shut` is. */
async function plugin(directory: string): Promise<void> {
  const script = `#!/bin/sh
if [ "$CNI_COMMAND" = DEL ]; then
  while [ -e ${directory}/shut ]; do sleep 0.05; done
  [ ! -e ${directory}/broken ] || exit 1
fi
exec ${cniPluginDir()}/bridge "$@"
`;
  await Deno.writeTextFile(`${directory}/bridge`, script, { mode: 0o755 });
}

Deno.test("a network plugin that fails or hangs keeps neither the daemon nor the pods for ever", async () => {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-wipe-plugin-" });
  await plugin(directory);
  {
    await using lab = await Lab.start({ pluginDirectory: directory });
    await lab.pull();
    const { pod, pid } = await busyPod(lab, "old");
    await powerCut(lab, [pid]);
    await Deno.writeTextFile(`${directory}/shut`, "");
    await Deno.writeTextFile(`${directory}/broken`, "");
    await lab.daemon.start();
    assert.match(await Deno.readTextFile(lab.daemon.logPath), /The wipe after a reboot takes long, it goes on/);
    assert.deepEqual(await podsOf(lab), [pod.id]);
    const next = await busyPod(lab, "new");
    await Deno.remove(`${directory}/shut`);
    await until("the failure", async () => {
      const log = await Deno.readTextFile(lab.daemon.logPath);
      return log.includes("The wipe after a reboot is not complete, it is tried again: pod k8s_old") ? true : undefined;
    });
    await Deno.remove(`${directory}/broken`);
    const left = await until("the next try", async () => {
      const ids = await podsOf(lab);
      return ids.includes(pod.id) ? undefined : ids;
    });
    assert.deepEqual(left, [next.pod.id], "what came after the reboot is left alone");
    assert.ok(await exists(`/proc/${next.pid}`));
    await next.pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("a version file that somebody deleted is no reboot: what lives stays", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const { pod, pid } = await busyPod(lab, "alive");
  await lab.daemon.stop();
  await Deno.remove(`${lab.directory}/version`);
  await lab.daemon.start();
  assert.deepEqual(await podsOf(lab), [pod.id]);
  assert.ok(await exists(`/proc/${pid}`));
  await lab.daemon.stop();
  const persist = `[crio]\nversion_file_persist = "${lab.directory}/installed"\n`;
  await Deno.writeTextFile(`${lab.directory}/crio.conf.d/60.conf`, persist);
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[pod.id], [lab.image]], "it is new in the configuration");
  assert.match(
    await Deno.readTextFile(lab.daemon.logPath),
    /A version file is missing, but 1 pods live: they are kept/,
  );
  await pod.remove();
});

/** What a daemon writes that cannot start; nobody asks its socket meanwhile, which may be another's. */
async function startAndEnd(lab: Lab): Promise<string> {
  const { argv: [program = "", ...args], env = {}, cwd = "/" } = lab.daemon.spec;
  const { code, stderr } = await new Deno.Command(program, { args, env, cwd, stdin: "null" }).output();
  assert.notEqual(code, 0);
  return new TextDecoder().decode(stderr);
}

Deno.test("containers that run below another program's monitors stay, and nothing goes while another serves", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const { pod, pid } = await busyPod(lab, "others");
  await lab.daemon.stop();
  await Deno.writeTextFile(`${lab.directory}/version`, '"1.36.0"');
  {
    using _other = Deno.listen({ transport: "unix", path: `${lab.directory}/crio.sock` });
    assert.match(await startAndEnd(lab), /another process listens there/);
  }
  await Deno.remove(`${lab.directory}/crio.sock`).catch(() => {});
  assert.ok(await exists(`/proc/${pid}/root/bin/busybox`), "the daemon that could not serve has removed nothing");
  for (const kind of ["containers", "sandboxes"]) {
    await Deno.remove(`${lab.directory}/root/crio/${kind}`, { recursive: true });
  }
  await lab.daemon.start();
  assert.deepEqual(await podsOf(lab), [], "it is not ours any more");
  assert.match(await Deno.readTextFile(lab.daemon.logPath), /1 containers of another program are mounted and stay/);
  assert.ok(await exists(`/proc/${pid}/root/bin/busybox`));
  assert.equal((await storedOf(lab)).length, 1, pod.id);
  await powerCut(lab, [pid]);
  await lab.daemon.start();
  assert.deepEqual(await storedOf(lab), [], "after a reboot nobody runs it");
});

Deno.test("after an upgrade pods go with their images, but for those that are pinned", async () => {
  const dropIn = (directory: string): string => `[crio]\nversion_file_persist = "${directory}/installed"\n`;
  await using lab = await Lab.start({ dropIn });
  await lab.pull();
  const { pid } = await busyPod(lab, "old");
  assert.equal(await Deno.readTextFile(`${lab.directory}/installed`), '"1.37.0"');
  await lab.daemon.stop();
  await Deno.writeTextFile(`${lab.directory}/installed`, '"1.37.9"');
  await lab.daemon.start();
  assert.equal((await podsOf(lab)).length, 1, "the same minor version changes nothing");
  await lab.daemon.stop();
  await Deno.writeTextFile(`${lab.directory}/installed`, '"1.36.9"');
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[], []]);
  assert.ok(!await exists(`/proc/${pid}`));
  assert.deepEqual(await lab.leaks(), []);

  await lab.pull();
  await busyPod(lab, "next");
  await lab.daemon.stop();
  await Deno.writeTextFile(`${lab.directory}/installed`, '"1.36.9"');
  await Deno.writeTextFile(`${lab.directory}/crio.conf.d/60.conf`, `[crio.image]\npinned_images = ["${lab.image}"]\n`);
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[], [lab.image]]);
});

Deno.test("crio wipe works after a reboot, and below no daemon and no running container", async () => {
  await using lab = await Lab.start({ dropIn: () => EXTERNAL });
  await lab.pull();
  const { pid } = await busyPod(lab, "busy");
  const below = await crioOf(lab, "wipe", "--force");
  assert.equal(below.code, 1);
  assert.match(below.err, /^crio: another crio uses .*: stop it/m);
  await lab.daemon.stop();
  assert.equal((await crioOf(lab, "wipe")).out, "nothing to wipe: neither a reboot nor an upgrade\n");
  const busy = await crioOf(lab, "wipe", "-f");
  assert.equal(busy.code, 1);
  assert.match(busy.err, /^crio: wipe: 1 pods are running: k8s_busy_.*crictl rmp -fa/m);
  assert.ok(await exists(`/proc/${pid}`), "nobody was harmed");

  await lab.daemon.start();
  await powerCut(lab, [pid]);
  await podmanOf(lab, "create", "--name", "podmans", lab.image, "/bin/true");
  const done = await crioOf(lab, "wipe");
  assert.deepEqual([done.code, done.out], [0, "removed 1 pods, 1 containers, 0 images\n"], done.err);
  assert.equal((await crioOf(lab, "wipe")).out, "nothing to wipe: it was done since the last boot\n");
  await Deno.writeTextFile(`${lab.directory}/crio-wipe-done`, '"1.36.0"');
  assert.equal((await crioOf(lab, "wipe")).out, "removed 0 pods, 0 containers, 0 images\n", "it was another version");
  assert.equal(await podmanOf(lab, "ps", "-a", "--format", "{{.Names}}"), "podmans");
  await podmanOf(lab, "rm", "podmans");
  await podmanDone(lab);
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[], [lab.image]]);
  assert.deepEqual(await lab.leaks(), []);
});

Deno.test("crio wipe --force removes images too; without it internal_wipe leaves all to the daemon", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const { pid } = await busyPod(lab, "old");
  await powerCut(lab, [pid]);
  const left = await crioOf(lab, "wipe");
  assert.match(left.out, /^nothing to wipe: with internal_wipe crio does it when it starts$/m);
  assert.match(left.err, /crio checks and repairs the store when it starts/);
  assert.equal((await crioOf(lab, "wipe", "--force")).out, "removed 1 pods, 1 containers, 1 images\n");
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[], []]);
});

Deno.test("crio wipe empties a store that was not synced when nobody is to repair it, unless it is in use", async () => {
  await using lab = await Lab.start({ dropIn: () => `${EXTERNAL}internal_repair = false\n` });
  await lab.pull();
  const { pid } = await busyPod(lab, "old");
  await powerCut(lab, [pid]);
  const mounted = `${lab.directory}/root/elsewhere`;
  await Deno.mkdir(mounted);
  await new Deno.Command("mount", { args: ["-t", "tmpfs", "none", mounted] }).output();
  const refused = await crioOf(lab, "wipe");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /1 file systems are mounted below it \(the first: .*\/elsewhere\)/);
  assert.ok(await exists(`${lab.directory}/root/overlay-images/images.json`));
  await new Deno.Command("umount", { args: [mounted] }).output();
  const { code, out, err } = await crioOf(lab, "wipe");
  assert.equal(code, 0, err);
  assert.match(out, /^removed everything in /m);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(`${lab.directory}/root`)), []);
  killAll([pid]);
  await lab.daemon.start();
  assert.deepEqual([await podsOf(lab), await imagesOf(lab)], [[], []]);
});
