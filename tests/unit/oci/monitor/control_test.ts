import assert from "node:assert/strict";
import { attachSocketPath, removeAttachLink } from "../../../../src/oci/monitor/control.ts";
import { readExit } from "../../../../src/oci/monitor/exits.ts";

Deno.test("attachSocketPath() goes through conmon's link, which is one byte shorter where it is as long as an address", () => {
  assert.equal(attachSocketPath("/run/crio", "abc"), "/run/crio/abc/attach");
  const id = "i".repeat(64);
  assert.equal(attachSocketPath(`/${"d".repeat(60)}`, id), `/${"d".repeat(60)}/${id}/attach`);
  assert.equal(attachSocketPath(`/${"d".repeat(41)}`, id), `/${"d".repeat(41)}/${id.slice(1)}/attach`);
});

Deno.test("readExit() takes only whole files with a number", async () => {
  const directory = await Deno.makeTempDir({ prefix: "exit-" });
  try {
    const table: ReadonlyArray<readonly [string, number | undefined]> = [
      ["0", 0],
      ["137\n", 137],
      ["-1", -1],
      ["", undefined],
      ["1 2", undefined],
      ["0x10", undefined],
      ["99999999999999", undefined],
    ];
    for (const [text, code] of table) {
      await Deno.writeTextFile(`${directory}/c1`, text);
      assert.equal((await readExit(directory, "c1"))?.exitCode, code, text);
    }
    assert.equal(await readExit(directory, "absent"), undefined);
    assert.equal(await readExit(directory, "../c1"), undefined);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("removeAttachLink() removes a container's own link, leaves another's, and succeeds without one", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const [own, other] = ["a".repeat(64), "b".repeat(64)];
    await Deno.symlink(`/run/containers/${own}/userdata`, `${directory}/${own}`);
    await Deno.symlink(`/run/containers/${own}/userdata`, `${directory}/${other}`);
    for (const id of [own, own, other]) await removeAttachLink(directory, id);
    const left = await Array.fromAsync(Deno.readDir(directory));
    assert.deepEqual(left.map(({ name }) => name), [other]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
