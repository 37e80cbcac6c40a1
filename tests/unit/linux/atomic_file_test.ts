import assert from "node:assert/strict";
import { writeFileAtomic } from "../../../src/linux/atomic_file.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

Deno.test("writeFileAtomic() replaces the content, with the mode, and leaves no temporary file", async () => {
  const directory = await Deno.makeTempDir({ prefix: "atomic-" });
  try {
    await writeFileAtomic(`${directory}/f`, bytes("one"));
    await writeFileAtomic(`${directory}/f`, bytes("two"), { durable: false, mode: 0o640 });
    assert.equal(await Deno.readTextFile(`${directory}/f`), "two");
    assert.equal(((await Deno.stat(`${directory}/f`)).mode ?? 0) & 0o777, 0o640);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(directory))).map((entry) => entry.name), ["f"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("writeFileAtomic() leaves the old state when the rename fails", async () => {
  const directory = await Deno.makeTempDir({ prefix: "atomic-" });
  try {
    await Deno.mkdir(`${directory}/taken/inside`, { recursive: true });
    await assert.rejects(writeFileAtomic(`${directory}/taken`, bytes("x")));
    assert.deepEqual((await Array.fromAsync(Deno.readDir(directory))).map((entry) => entry.name), ["taken"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
