import assert from "node:assert/strict";
import { attachSocketPath } from "../../../../src/oci/monitor/control.ts";
import { readExit } from "../../../../src/oci/monitor/exits.ts";

Deno.test("attachSocketPath() fits a socket address", () => {
  assert.equal(attachSocketPath("/run/crio", "abc"), "/run/crio/abc/attach");
  const path = attachSocketPath(`/${"d".repeat(60)}`, "i".repeat(64));
  assert.equal(path.length, 107);
  assert.ok(path.endsWith("/attach"));
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
