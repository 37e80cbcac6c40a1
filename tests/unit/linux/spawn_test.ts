import assert from "node:assert/strict";
import { createServer } from "node:net";
import { CommandError, commandResult, runCommand } from "../../../src/linux/command.ts";
import { ErrnoError } from "../../../src/linux/errno.ts";
import { openPipe, readableOf } from "../../../src/linux/pipe.ts";
import { spawnProcess } from "../../../src/linux/spawn.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

Deno.test("spawnProcess() gives a child nothing but what it was given, not even a listening socket", async () => {
  const path = await Deno.makeTempFile();
  await Deno.remove(path);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const { stdout } = await runCommand(["/bin/sh", "-c", "ls /proc/$$/fd"]);
    assert.equal(text(stdout).trim().split(/\s+/).join(" "), "0 1 2");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("spawnProcess() hands descriptors on under the numbers asked for, whatever ours are", async () => {
  using pipe = openPipe();
  const fds = new Map([[1, pipe.write.fd], [5, pipe.write.fd]]);
  const child = spawnProcess(["/bin/ls", "/proc/self/fd"], { env: {}, fds });
  pipe.write.close();
  const chunks: Uint8Array[] = [];
  for await (const chunk of readableOf(pipe.read)) chunks.push(chunk as Uint8Array);
  await child.exited;
  const output = chunks.map((chunk) => text(chunk)).join("");
  assert.deepEqual(output.trim().split("\n"), ["0", "1", "2", "3", "5"]); // 3: the folder that ls reads
});

Deno.test("commandResult() gives output, exit code and signal, and passes input, folder and environment", async () => {
  const result = await commandResult(["/bin/sh", "-c", "cat; pwd; echo $X >&2; exit 3"], {
    stdin: "in\n",
    cwd: "/",
    env: { X: "value" },
  });
  assert.deepEqual([text(result.stdout), text(result.stderr), result.exitCode], ["in\n/\n", "value\n", 3]);
  assert.equal((await commandResult(["/bin/sh", "-c", "kill -9 $$"])).signal, 9);
});

Deno.test("runCommand() throws for a bad end with the tail of stderr, and for a program that is not there", async () => {
  await assert.rejects(
    runCommand(["/bin/sh", "-c", "echo why >&2; exit 2"]),
    (error) => error instanceof CommandError && error.message === "/bin/sh ended with exit code 2: why",
  );
  await assert.rejects(runCommand(["/nonexistent"]), ErrnoError);
});

Deno.test("commandResult() kills the whole process group when its signal aborts", async () => {
  const marker = await Deno.makeTempFile();
  const controller = new AbortController();
  const run = commandResult(["/bin/sh", "-c", `sleep 1000 & echo $! > ${marker}; wait`], { signal: controller.signal });
  let pid = "";
  while (pid === "") {
    await new Promise((resolve) => setTimeout(resolve, 1));
    pid = (await Deno.readTextFile(marker)).trim();
  }
  controller.abort(new Error("stop"));
  await assert.rejects(run, /stop/);
  // The group's other members get the same signal; they may need a moment to die of it.
  const state = (): Promise<string> => Deno.readTextFile(`/proc/${pid}/stat`).catch(() => ") X");
  while (!/\) [ZX]/.test(await state())) await new Promise((resolve) => setTimeout(resolve, 1));
  await Deno.remove(marker);
});

Deno.test("commandResult() cuts output at its limit and runs many children at a time", async () => {
  const { stdout } = await commandResult(["/bin/sh", "-c", "head -c 100000 /dev/zero"], { maxOutputBytes: 1000 });
  assert.equal(stdout.length, 1000);
  const codes = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => (await commandResult(["/bin/sh", "-c", `exit ${i}`])).exitCode),
  );
  assert.deepEqual(codes, Array.from({ length: 20 }, (_, i) => i));
});
