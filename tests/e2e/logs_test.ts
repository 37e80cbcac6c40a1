/** Container logs: whole lines whatever their length, nothing lost in a rotation, limits, and places. */
import assert from "node:assert/strict";
import { Lab } from "./harness/lab.ts";
import { execText, exited, PodUnderTest, statusOf, until } from "./harness/tries.ts";

/** One entry of a log in the CRI format. */
interface Entry {
  readonly stream: string;
  readonly tag: string;
  readonly text: string;
}

function entries(log: string): Entry[] {
  return log.split("\n").filter((line) => line !== "").map((line) => {
    const [, time = "", stream = "", tag = "", text = ""] = /^(\S+) (stdout|stderr) ([PF]) (.*)$/.exec(line) ?? [];
    assert.match(
      time,
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/,
      `not an entry: ${line.slice(0, 80)}`,
    );
    return { stream, tag, text };
  });
}

/** What was written to one stream: partial entries (P) go on in the next one, full ones (F) end a line. */
function written(all: readonly Entry[], stream: string): string {
  return all.filter((entry) => entry.stream === stream).map(({ tag, text }) => tag === "F" ? `${text}\n` : text).join(
    "",
  );
}

function shell(script: string): string[] {
  return ["/bin/sh", "-c", script];
}

Deno.test("lines of any length come out as they went in, both streams apart", async () => {
  await using lab = await Lab.start();
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "lines");
  const script = `i=0; while [ $i -lt 20 ]; do
    head -c $((i * 1777)) /dev/zero | tr '\\0' x; echo " end $i"; echo "problem $i" >&2; i=$((i+1)); done; printf 'no newline'`;
  const id = await pod.start({ command: shell(script) });
  const { logPath } = await exited(lab, id);
  const all = entries(await Deno.readTextFile(logPath));
  const numbers = Array.from({ length: 20 }, (_, i) => i);
  assert.equal(
    written(all, "stdout"),
    numbers.map((i) => `${"x".repeat(i * 1777)} end ${i}\n`).join("") + "no newline",
  );
  assert.equal(written(all, "stderr"), numbers.map((i) => `problem ${i}\n`).join(""));
  assert.ok(all.some(({ tag }) => tag === "P"), "long lines are cut into pieces");
  assert.equal((await Deno.stat(logPath)).mode, 0o100600);
});

Deno.test("rotation under load loses and doubles nothing", async () => {
  await using lab = await Lab.start();
  const { client } = lab.daemon;
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "rotation");
  const ROTATIONS = 8;
  const id = await pod.start({
    command: shell("i=0; while [ ! -e /enough ]; do echo line $i; i=$((i+1)); done; echo line $i; echo written"),
  });
  const { logPath } = await statusOf(lab, id);
  const files: string[] = [];
  // As the kubelet does it: the file is renamed, then the runtime is told. The container writes until all are done.
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    await until("lines in the file", async () => (await Deno.stat(logPath)).size > 4096 || undefined);
    const rotated = `${logPath}.${rotation}`;
    await Deno.rename(logPath, rotated);
    files.push(rotated);
    await client.call("reopenContainerLog", { containerId: id });
  }
  assert.equal(await execText(lab, id, "touch", "/enough"), "");
  await exited(lab, id);
  const whole = (await Promise.all([...files, logPath].map((file) => Deno.readTextFile(file)))).join("");
  const text = written(entries(whole), "stdout");
  const count = text.split("\n").length - 2;
  assert.ok(count >= ROTATIONS * 100, `${count} lines`);
  const expected = Array.from({ length: count }, (_, i) => `line ${i}\n`).join("") + "written\n";
  assert.ok(text === expected, `${text.length} bytes differ`);
});

Deno.test("a pod without log directory logs into log_dir; with log_size_max a log is cut; the journal does not disturb", async () => {
  const environment = { CONTAINER_LOG_SIZE_MAX: "8192", CONTAINER_LOG_JOURNALD: "true" };
  await using lab = await Lab.start({ environment });
  await lab.pull();
  const pod = await PodUnderTest.run(lab, "places", { change: (config) => config.logDirectory = "" });
  const id = await pod.start({
    command: shell("i=0; while [ $i -lt 2000 ]; do echo a line of the log $i; i=$((i+1)); done"),
  });
  const { logPath } = await exited(lab, id);
  assert.match(logPath, new RegExp(`^${lab.directory}/.*/${pod.id}/c0/0\\.log$`));
  const info = await Deno.stat(logPath);
  assert.ok(info.size > 0 && info.size <= 8192 + 200, `${info.size} bytes`);
  const all = entries(await Deno.readTextFile(logPath));
  assert.equal(all.at(-1)?.text, "a line of the log 1999");
  await pod.remove();
  await assert.rejects(Deno.stat(logPath), Deno.errors.NotFound);
});
