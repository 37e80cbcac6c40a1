import assert from "node:assert/strict";
import { InvalidArgumentError, ResourceExhaustedError } from "../../../../src/base/errors.ts";
import { parseContainerContexts } from "../../../../src/security/selinux/contexts.ts";
import { formatLabel, parseLabel, sharedLabel, withOptions } from "../../../../src/security/selinux/label.ts";
import { keepsVolumeLabels, SelinuxLabels } from "../../../../src/security/selinux/labels.ts";
import { LevelPool } from "../../../../src/security/selinux/levels.ts";
import { type FileLabels, relabelVolume } from "../../../../src/security/selinux/relabel.ts";

const PLAIN = {
  options: undefined,
  privileged: false,
  shares: { network: false, pid: false, ipc: false },
  isInit: false,
};
const POD = { processLabel: "system_u:system_r:container_t:s0:c1,c2", mountLabel: "" };
const options = (changes: object) => ({ user: "", role: "", type: "", level: "", ...changes });

async function labels({ hostNetworkIsUnseparated = true } = {}): Promise<SelinuxLabels> {
  return await SelinuxLabels.open({ hostNetworkIsUnseparated, root: "/no/such/root" });
}

Deno.test("parseLabel() and formatLabel() are each other's opposite, levels with colons included", () => {
  const text = "system_u:object_r:container_file_t:s0:c1,c1023";
  assert.deepEqual(parseLabel(text)?.level, "s0:c1,c1023");
  assert.equal(formatLabel(parseLabel(text) ?? assert.fail()), text);
  assert.equal(parseLabel("a:b"), undefined);
  assert.deepEqual(parseLabel("a:b:c"), { user: "a", role: "b", type: "c", level: "" });
});

Deno.test("withOptions() takes the parts that are given, and refuses those that break out of theirs", () => {
  const label = parseLabel("u:r:t:s0") ?? assert.fail();
  assert.equal(formatLabel(withOptions(label, options({ type: "x_t", level: "s0:c3.c9" }))), "u:r:x_t:s0:c3.c9");
  for (const bad of [{ type: "a:b" }, { user: "a b" }, { level: "s0:c1,c2,context=x" }, { level: 's0"' }]) {
    assert.throws(() => withOptions(label, options(bad)), InvalidArgumentError);
  }
});

Deno.test("LevelPool gives each pod another level, and one again only when all its users are gone", () => {
  const numbers = [0.5, 0.1, 0.1, 0.5, 0.7, 0.7, 0.2, 0.3];
  const pool = new LevelPool(() => numbers.shift() ?? 0);
  assert.equal(pool.take(), "s0:c102,c512");
  // The same pair the other way round, then twice the same category, are passed over.
  assert.equal(pool.take(), "s0:c204,c307");
  const full = new LevelPool(() => 0);
  const first = full.take();
  assert.equal(first, "s0:c0,c1");
  full.reserve("s0:c1,c0");
  full.release(first);
  assert.notEqual(full.take(), first);
  full.release(first);
  assert.equal(full.take(), first);
});

Deno.test("LevelPool says when there is none left", () => {
  const pool = new LevelPool(() => 0);
  for (let a = 0; a < 1024; a++) for (let b = a + 1; b < 1024; b++) pool.reserve(`s0:c${a},c${b}`);
  assert.throws(() => pool.take(), ResourceExhaustedError);
  pool.release("s0:c9,c8");
  assert.equal(pool.take(), "s0:c8,c9");
});

Deno.test("parseContainerContexts() reads the policy's file and fills in what is missing", () => {
  const text = 'process = "system_u:system_r:svirt_t:s0"\nfile = "system_u:object_r:svirt_file_t:s0"\n';
  const { process, file, init } = parseContainerContexts(text);
  assert.deepEqual([process.type, file.type, init.type], ["svirt_t", "svirt_file_t", "container_init_t"]);
});

Deno.test("SelinuxLabels gives pods their levels and containers their pod's", async () => {
  const all = await labels();
  const pod = all.forPod(undefined);
  assert.match(pod.processLabel, /^system_u:system_r:container_t:s0:c\d+,c\d+$/);
  const level = parseLabel(pod.processLabel)?.level;
  assert.equal(pod.mountLabel, `system_u:object_r:container_file_t:${level}`);
  assert.deepEqual(all.forContainer(pod, PLAIN), pod);
  const asked = all.forPod(options({ level: "s0:c5,c6" }));
  assert.equal(asked.processLabel, "system_u:system_r:container_t:s0:c5,c6");
});

Deno.test("SelinuxLabels.forContainer() leaves separation out where it is undone anyway", async () => {
  const all = await labels();
  const mountLabel = "system_u:object_r:container_file_t:s0:c1,c2";
  assert.deepEqual(all.forContainer(POD, { ...PLAIN, privileged: true }), { processLabel: "", mountLabel });
  const onHost = { ...PLAIN, shares: { ...PLAIN.shares, network: true } };
  assert.deepEqual(all.forContainer(POD, onHost), { processLabel: "", mountLabel });
  assert.equal(
    (await labels({ hostNetworkIsUnseparated: false })).forContainer(POD, onHost).processLabel,
    POD.processLabel,
  );
  for (const kind of ["pid", "ipc"]) {
    const shares = { ...PLAIN.shares, [kind]: true };
    assert.deepEqual(all.forContainer(POD, { ...PLAIN, shares }), { processLabel: "", mountLabel: "" });
  }
});

Deno.test("SelinuxLabels.forContainer() heeds the container's own options, and init systems", async () => {
  const all = await labels();
  const own = all.forContainer(POD, { ...PLAIN, options: options({ type: "spc_t", level: "s0:c7,c8" }) });
  assert.equal(own.processLabel, "system_u:system_r:spc_t:s0:c7,c8");
  assert.equal(own.mountLabel, "system_u:object_r:container_file_t:s0:c7,c8");
  assert.match(all.forContainer(POD, { ...PLAIN, isInit: true }).processLabel, /:container_init_t:s0:c1,c2$/);
  const typed = { ...POD, processLabel: "system_u:system_r:other_t:s0:c1,c2" };
  assert.match(all.forContainer(typed, { ...PLAIN, isInit: true }).processLabel, /:other_t:/);
});

Deno.test("keepsVolumeLabels() holds for super-privileged containers and pods", () => {
  assert.ok(keepsVolumeLabels({ container: options({ type: "spc_t" }), pod: undefined }));
  assert.ok(keepsVolumeLabels({ container: undefined, pod: options({ type: "spc_t" }) }));
  assert.ok(!keepsVolumeLabels({ container: options({ type: "x_t" }), pod: options({ type: "spc_t" }) }));
  assert.ok(!keepsVolumeLabels({ container: undefined, pod: undefined }));
});

Deno.test("relabelVolume() labels a tree, not what links lead to, and skips it when the top says so", async () => {
  const top = await Deno.makeTempDir();
  const outside = await Deno.makeTempFile();
  try {
    await Deno.mkdir(`${top}/a/b`, { recursive: true });
    await Deno.writeTextFile(`${top}/a/file`, "");
    await Deno.symlink(outside, `${top}/link`);
    const set = new Map<string, string>();
    const files: FileLabels = { get: (path) => set.get(path), set: (path, label) => void set.set(path, label) };
    await relabelVolume(top, "x", { onlyIfTopDiffers: true, files });
    assert.deepEqual([...set.keys()].sort(), ["", "/a", "/a/b", "/a/file", "/link"].map((path) => top + path));
    set.delete(`${top}/a`);
    await relabelVolume(top, "x", { onlyIfTopDiffers: true, files });
    assert.ok(!set.has(`${top}/a`));
    await relabelVolume(top, "x", { onlyIfTopDiffers: false, files });
    assert.ok(set.has(`${top}/a`));
  } finally {
    await Deno.remove(top, { recursive: true });
    await Deno.remove(outside);
  }
});

Deno.test("relabelVolume() refuses the directories of the node's system", async () => {
  for (const path of ["/", "/etc", "/usr", "/var/lib"]) {
    await assert.rejects(relabelVolume(path, "x", { onlyIfTopDiffers: false }), /cannot be relabelled/);
  }
});

Deno.test("sharedLabel() takes the categories away", () => {
  assert.equal(sharedLabel("system_u:object_r:container_file_t:s0:c1,c2"), "system_u:object_r:container_file_t:s0");
  assert.equal(sharedLabel("u:r:t:s0-s0:c0.c1023"), "u:r:t:s0-s0");
  assert.equal(sharedLabel("u:r:t"), "u:r:t");
  assert.equal(sharedLabel(""), undefined);
});
