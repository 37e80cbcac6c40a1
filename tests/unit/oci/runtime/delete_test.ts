import assert from "node:assert/strict";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { RuntimeError } from "../../../../src/oci/runtime/errors.ts";
import { OciRuntime } from "../../../../src/oci/runtime/runtime.ts";

openLibraries();

/** A runtime whose first `failures` calls end like crun's when the process is reaped under its eyes. */
async function withRuntime(failures: number, body: (runtime: OciRuntime) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/runtime`;
    const script = `#!/bin/sh
echo call >>${directory}/calls
[ "$(wc -l <${directory}/calls)" -gt ${failures} ] && exit 0
echo 'open pidfd: No such file or directory' >&2; exit 1
`;
    await Deno.writeTextFile(path, script, { mode: 0o755 });
    await body(new OciRuntime({ name: "crun", path, root: directory }));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("OciRuntime.delete() tries again when a process ends while the runtime looks", async () => {
  await withRuntime(2, async (runtime) => await runtime.delete("abc", { force: true }));
});

Deno.test("OciRuntime.delete() gives up with the runtime's words", async () => {
  await withRuntime(100, async (runtime) => {
    await assert.rejects(runtime.delete("abc", { force: true }), (error) => {
      return error instanceof RuntimeError && /open pidfd/.test(error.message);
    });
  });
});
