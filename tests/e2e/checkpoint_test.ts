/**
 * Checkpoint and restore through the daemon: with CRIU where it works on this host, and everywhere with a runtime that
 * stands in for it (its checkpoint writes a mark, its restore starts the program anew).
 */
import assert from "node:assert/strict";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Crictl } from "./harness/crictl.ts";
import { Lab } from "./harness/lab.ts";
import { PATIENCE } from "./harness/patience.ts";
import { execText, exited, pidOf, PodUnderTest, statusOf, until } from "./harness/tries.ts";

/** Counts in memory and into a file; keeps one file of the image, changes one, removes one. */
const COUNTER =
  "echo changed > /etc/hostname.image; rm /etc/group /etc/passwd; mkdir /made; touch '/made/-two\nlines'; echo secret > /made/file; " +
  "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.1; done";

function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

async function works(...argv: string[]): Promise<boolean> {
  const [program = "", ...args] = argv;
  const command = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" });
  return await command.output().then(({ success }) => success, () => false);
}

/** runc, but for checkpoint and restore; a failing one where /fail-checkpoint lies beside it. */
async function standIn(directory: string): Promise<string> {
  const path = `${directory}/stand-in`;
  await Deno.writeTextFile(
    path,
    `#!/bin/bash
here=\${0%/*}
args=("$@"); command=; image=; bundle=; pid=
for ((i = 0; i < \${#args[@]}; i++)); do
  case \${args[i]} in
    checkpoint | restore) command=\${args[i]} ;;
    --image-path) image=\${args[i+1]} ;;
    --bundle) bundle=\${args[i+1]} ;;
    --pid-file) pid=\${args[i+1]} ;;
    --root=*) root=\${args[i]} ;;
  esac
done
id=\${args[-1]}
case $command in
  checkpoint)
    [ -e "$here/fail-checkpoint" ] && { echo "criu failed: type DUMP" >&2; exit 1; }
    [ -e "$here/hang-checkpoint" ] && { echo $$ > "$here/hangs"; exec sleep 600; }
    echo memory > "$image/pages-1.img" ;;
  restore)
    [ -e "$image/pages-1.img" ] || { echo "no image" >&2; exit 1; }
    runc "$root" run --detach --bundle "$bundle" --pid-file "$pid" "$id" || exit
    # As CRIU does on cgroup v2: its processes are where the container was before.
    old=$(grep -o '"cgroupsPath":"[^"]*"' "$image/../spec.dump" | cut -d'"' -f4)
    for tree in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts); do
      case $tree in */cpuset*) continue ;; esac
      mkdir -p "$tree$old"
      cat "$pid" > "$tree$old/cgroup.procs"
    done ;;
  *) exec runc "$@" ;;
esac
`,
    { mode: 0o755 },
  );
  return path;
}

const handler = (name: string, path: string, root: string): string =>
  `[crio.runtime.runtimes.${name}]\nruntime_path = "${path}"\nruntime_root = "${root}"\n`;

const hasCriu = await works("criu", "--version");
/** The name of a test says what it needs: a skipped one is listed with it. */
const NEEDS = { "criu": "needs a host where `criu check` passes", "stand-in": "needs criu to be installed" };
const criuWorks = await works("criu", "check");

async function withLab(
  kind: "criu" | "stand-in",
  body: (lab: Lab, tools: { directory: string; runtimeHandler: string }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "crio-checkpoint-" });
  try {
    const extraConfig = kind === "criu" ? "" : handler("standin", await standIn(directory), `${directory}/state`);
    await using lab = await Lab.start({ defaultRuntime: "runc", extraConfig });
    await lab.pull();
    await body(lab, { directory, runtimeHandler: kind === "criu" ? "runc" : "standin" });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** At once: what runs here does not listen to the stop signal. */
async function removeNow(lab: Lab, pod: PodUnderTest): Promise<void> {
  await lab.daemon.client.call("removePodSandbox", { podSandboxId: pod.id });
}

async function count(lab: Lab, id: string): Promise<number> {
  return Number(await execText(lab, id, "cat", "/count"));
}

for (
  const { kind, ignore } of [
    { kind: "criu" as const, ignore: !criuWorks },
    { kind: "stand-in" as const, ignore: !hasCriu },
  ]
) {
  Deno.test(
    `${kind}: a container goes on from its checkpoint in another pod, and the first one never stopped (${NEEDS[kind]})`,
    {
      ignore,
    },
    async () => {
      await withLab(kind, async (lab, { directory, runtimeHandler }) => {
        const { client } = lab.daemon;
        const pod = await PodUnderTest.run(lab, "first", { runtimeHandler });
        const id = await pod.start({ command: shell(COUNTER) });
        await until("it counts", async () => await count(lab, id) > 5 || undefined);
        const pid = await pidOf(lab, id);
        const location = `${directory}/archive.tar`;
        // As people do it, where there is a crictl.
        if (await Crictl.isAvailable()) {
          await (await Crictl.for(lab.daemon.spec.socketPath)).run("checkpoint", `--export=${location}`, id);
        } else {
          await client.call("checkpointContainer", { containerId: id, location }, { timeoutMs: 120_000 * PATIENCE });
        }
        assert.equal((await Deno.stat(location)).mode, 0o100600, "it holds memory: root alone reads it");
        assert.equal(await pidOf(lab, id), pid);
        const before = await count(lab, id);
        await until("it goes on", async () => await count(lab, id) > before || undefined);
        const { info } = await client.call("containerStatus", { containerId: id, verbose: true });
        assert.match(JSON.parse(info.get("info") ?? "{}").checkpointedAt, /^\d{4}-/);
        const { imageRef } = await statusOf(lab, id);
        await removeNow(lab, pod);

        const other = await PodUnderTest.run(lab, "second", { runtimeHandler });
        const restored = await other.create({ name: "again", image: location, command: shell(COUNTER) });
        assert.equal((await statusOf(lab, restored)).imageRef, imageRef);
        await client.call("startContainer", { containerId: restored });
        const cgroups = await Deno.readTextFile(`/proc/${await pidOf(lab, restored)}/cgroup`);
        assert.ok(cgroups.includes(`crio-${restored}`) && !cgroups.includes(`crio-${id}`), cgroups);
        assert.equal(await execText(lab, restored, "cat", "/etc/hostname.image"), "changed");
        assert.equal(await execText(lab, restored, "cat", "/made/file"), "secret");
        for (const gone of ["/etc/group", "/etc/passwd"]) {
          assert.match(await execText(lab, restored, "ls", gone), /No such file/);
        }
        assert.match(await execText(lab, restored, "ls", "/made"), /^-two.+lines\nfile$/s);
        if (kind === "criu") {
          const at = await count(lab, restored);
          assert.ok(at >= before, `${at} after ${before}: the memory went on`);
          await until("it counts on", async () => await count(lab, restored) > at || undefined);
        }
        await client.call("stopContainer", { containerId: restored, timeout: 0n });
        assert.equal((await exited(lab, restored)).exitCode, 137);
        await removeNow(lab, other);
        assert.deepEqual(await lab.leaks(), []);
      });
    },
  );
}

Deno.test("stand-in: an image that holds a checkpoint is restored like an archive", { ignore: !hasCriu }, async () => {
  await withLab("stand-in", async (lab, { directory, runtimeHandler }) => {
    const { client } = lab.daemon;
    const pod = await PodUnderTest.run(lab, "first", { runtimeHandler });
    const id = await pod.start({ command: shell(COUNTER) });
    await until("it counts", async () => await count(lab, id) > 2 || undefined);
    const location = `${directory}/archive.tar`;
    await client.call("checkpointContainer", { containerId: id, location });
    // As people make such images: the archive's files at the root, and the annotation.
    const store = `--root ${lab.directory}/root --runroot ${lab.directory}/runroot --storage-driver overlay`;
    const script = `set -e; b="buildah ${store}"; c=$($b from scratch); $b add -q $c ${location} /
      $b config --annotation io.kubernetes.cri-o.annotations.checkpoint.name=counter $c
      $b commit -q --rm $c localhost/checkpoint:1`;
    assert.ok(await works("/bin/bash", "-c", script), "buildah");
    const restored = await pod.create({ name: "again", image: "localhost/checkpoint:1", command: shell(COUNTER) });
    await client.call("startContainer", { containerId: restored });
    assert.equal(await execText(lab, restored, "cat", "/made/file"), "secret");
    await removeNow(lab, pod);
    await client.call("removeImage", { image: message(ImageSpec, { image: "localhost/checkpoint:1" }) });
    assert.deepEqual(await lab.leaks(), []);
  });
});

Deno.test("stand-in: a checkpoint that fails or is cut off leaves the container running and no archive", {
  ignore: !hasCriu,
}, async () => {
  await withLab("stand-in", async (lab, { directory, runtimeHandler }) => {
    const { client } = lab.daemon;
    const pod = await PodUnderTest.run(lab, "first", { runtimeHandler });
    const id = await pod.start({ command: shell(COUNTER) });
    await until("it counts", async () => await count(lab, id) > 2 || undefined);
    const location = `${directory}/archive.tar`;
    const goesOn = async (): Promise<void> => {
      const before = await count(lab, id);
      await until("it goes on", async () => await count(lab, id) > before || undefined);
      const left = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
      assert.deepEqual(left.filter((name) => name.includes("archive")), []);
    };
    await Deno.writeTextFile(`${directory}/fail-checkpoint`, "");
    await assert.rejects(client.call("checkpointContainer", { containerId: id, location }), /criu failed: type DUMP/);
    await goesOn();
    await Deno.remove(`${directory}/fail-checkpoint`);

    await Deno.writeTextFile(`${directory}/hang-checkpoint`, "");
    await assert.rejects(
      client.call("checkpointContainer", { containerId: id, location, timeout: 1n }),
      /CRIU dumps the processes|timed out|DEADLINE/i,
    );
    await goesOn();

    // The daemon is killed while the container is frozen: its next start lets it go on.
    await Deno.remove(`${directory}/hangs`);
    const cut = client.call("checkpointContainer", { containerId: id, location }).then(() => "done", () => "cut");
    await until("it hangs", () => Deno.stat(`${directory}/hangs`).then(() => true, () => undefined));
    await lab.daemon.stop("SIGKILL");
    assert.equal(await cut, "cut");
    await lab.daemon.start();
    await goesOn();
    // The runtime's call has outlived the daemon that made it.
    Deno.kill(Number(await Deno.readTextFile(`${directory}/hangs`)), "SIGKILL");
    await Deno.remove(`${directory}/hang-checkpoint`);
    await removeNow(lab, pod);
    assert.deepEqual(await lab.leaks(), []);
  });
});

Deno.test(
  "stand-in: hostile or unfit checkpoints are refused before anything is made",
  { ignore: !hasCriu },
  async () => {
    await withLab("stand-in", async (lab, { directory, runtimeHandler }) => {
      const { client } = lab.daemon;
      const pod = await PodUnderTest.run(lab, "first", { runtimeHandler });
      const id = await pod.start({ command: shell(COUNTER) });
      const location = `${directory}/good.tar`;
      await client.call("checkpointContainer", { containerId: id, location });
      const tar = async (name: string, script: string): Promise<string> => {
        const tree = `${directory}/${name}`;
        await Deno.mkdir(tree);
        const text = `set -e; cd ${tree}; tar -xf ${location}; ${script}; tar -cf ../${name}.tar *`;
        assert.ok(await works("/bin/bash", "-c", text), text);
        return `${tree}.tar`;
      };
      const link = "rm -r checkpoint; mkdir checkpoint; ln -s /etc/shadow checkpoint/pages-1.img";
      const image = `sed -i 's/"rootfsImage[^,]*,//g' config.dump`;
      for (
        const [archive, message] of [
          [await tar("link", link), /checkpoint\/pages-1\.img is neither a file nor a directory/],
          [await tar("folder", "rm -r checkpoint; ln -s /etc checkpoint"), /checkpoint is not a plain directory/],
          [await tar("config", "rm config.dump; ln -s /etc/passwd config.dump"), /config\.dump is not a plain file/],
          [await tar("noimage", image), /not on this node: pull it first/],
          [await tar("empty", "rm config.dump"), /no config\.dump/],
        ] as const
      ) {
        await assert.rejects(pod.create({ image: archive }), message, archive);
      }
      const escape = await tar(
        "escape",
        "mkdir x; cd x; ln -s / root; mkdir y; cd ..; tar -cf rootfs-diff.tar --transform 's,^,../../,' x; rm -r x",
      );
      const escaped = await pod.create({ image: escape }).catch((error: Error) => error.message);
      await assert.rejects(Deno.stat(`${lab.directory}/x`), Deno.errors.NotFound, escaped);
      await removeNow(lab, pod);
      assert.deepEqual(await lab.leaks(), []);
    });
  },
);
