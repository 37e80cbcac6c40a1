import assert from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { CgroupLayout } from "../../../../src/linux/host.ts";
import { parseState } from "../../../../src/oci/runtime/runtime.ts";
import { parseFeatures, parseVersion } from "../../../../src/oci/runtime/version.ts";
import { needsV1View, runtimePathFor } from "../../../../src/oci/runtime/wrapper.ts";

const HYBRID: CgroupLayout = {
  mode: "hybrid",
  v1: { memory: "/sys/fs/cgroup/memory" },
  unified: "/sys/fs/cgroup/unified",
  unifiedControllers: ["hugetlb"],
};

Deno.test("parseVersion() reads crun's and runc's words", () => {
  const crun = parseVersion("crun version 1.8.1\ncommit: f8a0\nrundir: /run/crun\nspec: 1.0.0\n+SYSTEMD\n");
  assert.deepEqual(crun, { program: "crun", version: "1.8.1", major: 1, minor: 8, spec: "1.0.0" });
  const runc = parseVersion("runc version 1.1.5+ds1\ncommit: 1\nspec: 1.0.2-dev\n");
  assert.deepEqual([runc.program, runc.version, runc.minor, runc.spec], ["runc", "1.1.5+ds1", 1, "1.0.2-dev"]);
  assert.equal(parseVersion("garbage").version, "");
});

Deno.test("parseFeatures() takes what it knows and survives anything", () => {
  const features = parseFeatures(JSON.stringify({
    ociVersionMin: "1.0.0",
    ociVersionMax: "1.2.0",
    mountOptions: ["ro", "rro", 3],
    linux: { mountExtensions: { idmap: { enabled: true } } },
    annotations: { "run.oci.crun.version": "1.20" },
  }));
  assert.ok(features?.recursiveReadOnly === true && features.idMappedMounts);
  assert.deepEqual(features.mountOptions, ["ro", "rro"]);
  for (const text of ["", "null", "[]", "3", "{"]) assert.equal(parseFeatures(text), undefined, text);
  assert.ok(parseFeatures('{"linux":7,"mountOptions":null}')?.idMappedMounts === false);
});

Deno.test("parseState() refuses what is no state", () => {
  const state = '{"id":"a","status":"running","pid":5,"bundle":"/b","x":1}';
  assert.deepEqual(parseState(state), { id: "a", status: "running", pid: 5, bundle: "/b" });
  for (const text of ["", "null", "[]", '{"id":"a","status":"odd"}', '{"status":"running"}']) {
    assert.equal(parseState(text), undefined, text);
  }
});

Deno.test("needsV1View() is for an old crun on a hybrid host with v2 controllers only", () => {
  const crun = (version: string): ReturnType<typeof parseVersion> => parseVersion(`crun version ${version}\n`);
  assert.ok(needsV1View(crun("1.8.1"), HYBRID));
  assert.ok(!needsV1View(crun("1.9"), HYBRID));
  assert.ok(!needsV1View(crun("2.0"), HYBRID));
  assert.ok(!needsV1View(parseVersion("runc version 1.1.5\n"), HYBRID));
  assert.ok(!needsV1View(crun("1.8.1"), { ...HYBRID, unifiedControllers: [] }));
  assert.ok(!needsV1View(crun("1.8.1"), { ...HYBRID, mode: "v2" }));
});

Deno.test("runtimePathFor() writes a wrapper, with perl and without, that names the runtime", async () => {
  const directory = await Deno.makeTempDir({ prefix: "wrapper-" });
  const version = parseVersion("crun version 1.8.1\n");
  const options = { version, cgroup: HYBRID, directory, log: silentLogger, path: "/opt/it's/crun" };
  try {
    const path = await runtimePathFor({ ...options, perl: "/nonexistent" });
    const shell = await Deno.readTextFile(path);
    assert.match(shell, /^#!\/bin\/sh\n/);
    assert.ok(shell.includes(`'/opt/it'\\''s/crun' "$@"`));
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o755);
    assert.equal(await runtimePathFor({ ...options, cgroup: { ...HYBRID, mode: "v1" } }), options.path);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(directory))).length, 1);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
