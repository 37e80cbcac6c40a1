import assert from "node:assert/strict";
import { LinuxContainerSecurityContext, Mount, MountPropagation } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { execText, pidOf, PodUnderTest, statusOf, type Wish } from "./harness/tries.ts";

const { PROPAGATION_BIDIRECTIONAL, PROPAGATION_HOST_TO_CONTAINER } = MountPropagation;

/** A sleeping container with these volumes. */
function withVolumes(mounts: ReadonlyArray<Partial<Mount>>, options: { privileged?: boolean } = {}): Wish {
  return {
    command: SLEEPER,
    change: (config) => {
      config.mounts = mounts.map((fields) => message(Mount, fields));
      if (options.privileged !== true) return;
      config.linux = {
        resources: undefined,
        securityContext: message(LinuxContainerSecurityContext, { privileged: true }),
      };
    },
  };
}

async function run(...argv: string[]): Promise<void> {
  const [program = "", ...args] = argv;
  const { success, stderr } = await new Deno.Command(program, { args, stderr: "piped" }).output();
  if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** A directory that is a mount of its own, with this propagation, for the time of `body`. */
async function withMount(path: string, kind: "shared" | "private", body: () => Promise<void>): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await run("mount", "-t", "tmpfs", "tmpfs", path);
  try {
    await run("mount", `--make-${kind}`, path);
    await body();
  } finally {
    await run("umount", "--recursive", path);
  }
}

/** Mount points of a process with their options, the topmost of each. */
async function mountOptions(pid: number | "self"): Promise<Map<string, string>> {
  const text = await Deno.readTextFile(`/proc/${pid}/mountinfo`);
  return new Map(
    text.trim().split("\n").map((line) => {
      const fields = line.split(" ");
      return [fields[4] ?? "", fields.slice(5, fields.indexOf("-")).join(" ")];
    }),
  );
}

async function mkdirs(...paths: string[]): Promise<void> {
  for (const path of paths) await Deno.mkdir(path, { recursive: true });
}

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: volumes are mounted as their requests ask for`, async (t) => {
    await using lab = await Lab.start({
      defaultRuntime: runtime,
      environment: { CONTAINER_ABSENT_MOUNT_SOURCES_TO_REJECT: "/etc/never-there" },
    });
    await lab.pull();
    const { client } = lab.daemon;
    const pod = await PodUnderTest.run(lab, "volumes", {
      change: ({ linux }) => {
        if (linux?.securityContext !== undefined) linux.securityContext.privileged = true;
      },
    });
    const base = `${lab.directory}/volumes`;

    await t.step("a container that is not privileged can write neither sysfs nor its cgroups", async () => {
      const id = await pod.start({});
      const below = (await Deno.readTextFile(`/proc/${await pidOf(lab, id)}/mountinfo`)).split("\n")
        .map((line) => line.split(" ")[4] ?? "").filter((path) => path.startsWith("/sys/fs/cgroup/"));
      for (const directory of ["/sys/fs/cgroup", ...new Set(below)]) {
        const answer = await execText(lab, id, "/bin/busybox", "mkdir", `${directory}/escape`);
        if (directory !== "/sys/fs/cgroup") assert.match(answer, /Read-only file system/, directory);
      }
      assert.match(await execText(lab, id, "/bin/busybox", "touch", "/sys/kernel/notes"), /Read-only file system/);
      await pod.removeContainer(id);
    });

    await t.step("what is mounted later on either side is seen as the propagation says", async () => {
      await withMount(`${base}/shared`, "shared", async () => {
        await mkdirs(`${base}/shared/later`, `${base}/shared/theirs`);
        const at = (containerPath: string, propagation: MountPropagation): Partial<Mount> => ({
          containerPath,
          hostPath: `${base}/shared`,
          propagation,
        });
        const id = await pod.start(withVolumes([
          at("/private", MountPropagation.PROPAGATION_PRIVATE),
          at("/slave", PROPAGATION_HOST_TO_CONTAINER),
          at("/shared", PROPAGATION_BIDIRECTIONAL),
        ], { privileged: true }));
        await run("mount", "-t", "tmpfs", "tmpfs", `${base}/shared/later`);
        const pid = await pidOf(lab, id);
        const inside = await mountOptions(pid);
        assert.ok(!inside.has("/private/later") && inside.has("/slave/later") && inside.has("/shared/later"));
        assert.match(inside.get("/slave") ?? "", /master:/);
        assert.match(inside.get("/shared") ?? "", /shared:/);
        await execText(lab, id, "mount", "-t", "tmpfs", "tmpfs", "/shared/theirs");
        await execText(lab, id, "mount", "-t", "tmpfs", "tmpfs", "/slave/theirs");
        assert.ok((await mountOptions("self")).has(`${base}/shared/theirs`));
        await pod.removeContainer(id);
      });
    });

    await t.step("propagation that the node's mount cannot give is refused with the remedy", async () => {
      await withMount(`${base}/alone`, "private", async () => {
        for (const propagation of [PROPAGATION_BIDIRECTIONAL, PROPAGATION_HOST_TO_CONTAINER]) {
          const mount = { containerPath: "/v", hostPath: `${base}/alone`, propagation };
          await assert.rejects(pod.create(withVolumes([mount])), new RegExp(`make-rshared ${base}/alone`));
        }
      });
    });

    await t.step("read-only is one mount deep, recursive read-only all of them", async () => {
      const { runtimeHandlers } = await client.call("status", {});
      assert.ok(runtimeHandlers.find(({ name }) => name === runtime)?.features?.recursiveReadOnlyMounts);
      await mkdirs(`${base}/ro/below`);
      await withMount(`${base}/ro/below`, "private", async () => {
        const volume = { hostPath: `${base}/ro`, readonly: true };
        const id = await pod.start(withVolumes([
          { ...volume, containerPath: "/flat" },
          { ...volume, containerPath: "/deep", recursiveReadOnly: true },
        ]));
        const inside = await mountOptions(await pidOf(lab, id));
        const access = (path: string): string => inside.get(path)?.split(",")[0] ?? "none";
        assert.deepEqual(["/flat", "/flat/below", "/deep", "/deep/below"].map(access), ["ro", "rw", "ro", "ro"]);
        assert.deepEqual((await statusOf(lab, id)).mounts.map((mount) => mount.recursiveReadOnly), [false, true]);
        await pod.removeContainer(id);
      });
    });

    await t.step("missing sources become directories, except where the node refuses that", async () => {
      const hostPath = `${base}/made/here`;
      await pod.removeContainer(await pod.start(withVolumes([{ containerPath: "/v", hostPath }])));
      assert.ok((await Deno.stat(hostPath)).isDirectory);
      const bad = { containerPath: "/v", hostPath: "/etc/never-there" };
      await assert.rejects(pod.create(withVolumes([bad])), /absent_mount_sources_to_reject/);
      await assert.rejects(Deno.stat("/etc/never-there"), Deno.errors.NotFound);
    });

    await t.step("nested volumes are mounted parents first, whatever their order", async () => {
      await mkdirs(`${base}/outer/inner`, `${base}/other`);
      await Deno.writeTextFile(`${base}/other/file`, "seen");
      const id = await pod.start(withVolumes([
        { containerPath: "/v/inner", hostPath: `${base}/other` },
        { containerPath: "/v", hostPath: `${base}/outer` },
        { containerPath: "/etc/hosts", hostPath: `${base}/other/file`, readonly: true },
      ]));
      assert.equal(await execText(lab, id, "cat", "/v/inner/file", "/etc/hosts"), "seenseen");
      await pod.removeContainer(id);
    });

    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  });
}

Deno.test("the node's mount options shape every container", async (t) => {
  const files = await Deno.makeTempDir({ prefix: "crio-mounts-" });
  await mkdirs(`${files}/secrets/sub`, `${files}/prefix/real`);
  await Deno.writeTextFile(`${files}/secrets/sub/token`, "subscription");
  await Deno.writeTextFile(`${files}/prefix/real/file`, "prefixed");
  await Deno.symlink("/real", `${files}/prefix/link`);
  await Deno.writeTextFile(`${files}/mounts.conf`, `# comment\n${files}/secrets:/run/secrets\n/nowhere:/gone\n`);
  try {
    await using lab = await Lab.start({
      environment: {
        CONTAINER_READ_ONLY: "true",
        CONTAINER_IMAGE_VOLUMES: "bind",
        CONTAINER_DEFAULT_MOUNTS_FILE: `${files}/mounts.conf`,
        CONTAINER_BIND_MOUNT_PREFIX: `${files}/prefix`,
      },
    });
    await lab.pull();
    const pod = await PodUnderTest.run(lab, "options");
    const id = await pod.start(withVolumes([{ containerPath: "/v", hostPath: "/link" }]));

    await t.step("read_only leaves the root read-only and /tmp writable", async () => {
      assert.match(await execText(lab, id, "touch", "/new"), /Read-only file system/);
      assert.equal(await execText(lab, id, "touch", "/tmp/new", "/run/new", "/var/tmp/new"), "");
    });

    await t.step("default mounts are copies", async () => {
      assert.equal(await execText(lab, id, "cat", "/run/secrets/sub/token"), "subscription");
      assert.equal(await execText(lab, id, "touch", "/run/secrets/mine"), "");
      await assert.rejects(Deno.stat(`${files}/secrets/mine`), Deno.errors.NotFound);
      assert.ok(!(await mountOptions(await pidOf(lab, id))).has("/gone"));
    });

    await t.step("sources are looked up below the prefix, their links too", async () => {
      assert.equal(await execText(lab, id, "cat", "/v/file"), "prefixed");
    });

    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  } finally {
    await Deno.remove(files, { recursive: true });
  }
});
