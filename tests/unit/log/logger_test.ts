import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import type { Clock } from "../../../src/base/clock.ts";
import { Log, type LogOptions } from "../../../src/log/logger.ts";
import { fileOutput, type LogOutput, LogSink } from "../../../src/log/sink.ts";

const clock: Clock = { nowNanos: () => 1_795_463_220_123_456_789n, monotonicMs: () => 0 };

class MemoryOutput implements LogOutput {
  text = "";
  closed = false;
  writes = 0;
  gate: Promise<void> | undefined;

  async write(bytes: Uint8Array): Promise<void> {
    await this.gate;
    this.writeSync(bytes);
  }
  writeSync(bytes: Uint8Array): void {
    this.writes += 1;
    this.text += new TextDecoder().decode(bytes);
  }
  close(): void {
    this.closed = true;
  }
}

async function lines(options: LogOptions, use: (log: Log) => void): Promise<readonly string[]> {
  const output = new MemoryOutput();
  {
    await using log = new Log({ clock, output, ...options });
    use(log);
  }
  ok(output.closed);
  return output.text.split("\n").slice(0, -1);
}

Deno.test("Log writes logrus' text form with sorted fields", async () => {
  const written = await lines({}, (log) => {
    log.root.info("Starting container: x", { name: "/runtime.v1.RuntimeService/StartContainer", id: "ab-1" });
    log.root.warn("slow", { ms: 12, level: "odd", none: undefined });
  });
  const time = 'time="2026-11-23T19:47:00.123456789Z"';
  deepStrictEqual(written, [
    `${time} level=info msg="Starting container: x" id=ab-1 name=/runtime.v1.RuntimeService/StartContainer`,
    `${time} level=warning msg=slow fields.level=odd ms=12`,
  ]);
});

Deno.test("Log quotes as Go does, so that nobody can forge a line", async () => {
  const [line] = await lines({}, (log) => log.root.error('a "b"\nlevel=info \x1b[31m\x00é\u2028\u{1F600}\\'));
  match(line ?? "", /msg="a \\"b\\"\\nlevel=info \\x1b\[31m\\x00é\\u2028😀\\\\"$/);
});

Deno.test("Log writes one line per entry whatever the text", async () => {
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
    for (const format of ["text", "json"] as const) {
      const written = await lines({ format }, (log) => log.root.info(text, { field: text }));
      strictEqual(written.length, 1);
    }
  }));
});

Deno.test("Log writes JSON with the same fields", async () => {
  const [line = ""] = await lines({ format: "json" }, (log) => log.root.with({ id: "x", big: 7n }).warn("m", { n: 1 }));
  deepStrictEqual(JSON.parse(line), {
    big: "7",
    id: "x",
    n: 1,
    level: "warning",
    msg: "m",
    time: "2026-11-23T19:47:00.123456789Z",
  });
});

Deno.test("Log changes level and filter while it runs", async () => {
  const written = await lines({ format: "json", level: "error" }, (log) => {
    log.root.info("one");
    log.setLevel("trace");
    log.root.trace("two");
    log.setFilter("^request");
    log.root.info("three");
    log.root.info("request four");
    log.setFilter("");
    log.root.debug("five");
  });
  deepStrictEqual(written.map((line) => JSON.parse(line).msg), ["two", "request four", "five"]);
});

Deno.test("Log shares one write among the lines of one turn", async () => {
  const output = new MemoryOutput();
  await using log = new Log({ clock, output });
  for (let count = 0; count < 100; count++) log.root.info("x");
  await log.flush();
  strictEqual(output.writes, 1);
});

Deno.test("LogSink drops and counts what a slow reader does not take, but no error", async () => {
  const output = new MemoryOutput();
  const { promise, resolve } = Promise.withResolvers<void>();
  output.gate = promise;
  {
    await using sink = new LogSink(output, { maxPendingBytes: 100, dropNotice: (count) => `dropped ${count}\n` });
    for (let count = 0; count < 50; count++) sink.push(`line ${count}\n`, { important: false });
    sink.push("broken\n", { important: true });
    sink.push(`${"x".repeat(90)}\n`, { important: true });
    match(output.text, /line 0\n.*dropped \d+\n/s);
    resolve();
  }
  const dropped = Number(/dropped (\d+)/.exec(output.text)?.[1]);
  strictEqual(output.text.match(/^line/gm)?.length, 50 - dropped);
  match(output.text, /broken\nx+\n$/);
});

Deno.test("LogSink survives a reader that is gone", async () => {
  const output = new MemoryOutput();
  output.write = (): Promise<void> => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  await using sink = new LogSink(output, { dropNotice: () => "" });
  sink.push("a\n", { important: true });
  await sink.flush();
  ok(sink.failed);
});

Deno.test("fileOutput() appends to a private file", async () => {
  const path = await Deno.makeTempFile({ prefix: "crio-log-" });
  await Deno.remove(path);
  for (const text of ["a\n", "b\n"]) {
    await using sink = new LogSink(fileOutput(path), { dropNotice: () => "" });
    sink.push(text, { important: false });
  }
  strictEqual(await Deno.readTextFile(path), "a\nb\n");
  strictEqual(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  await Deno.remove(path);
});

Deno.test("Log writes what waits when the process exits at once", async () => {
  const script = `import { Log } from "${new URL("../../../src/log/logger.ts", import.meta.url)}";
    const log = new Log(); log.root.error("last words"); Deno.exit(3);`;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", script] }).output();
  strictEqual(code, 3);
  match(new TextDecoder().decode(stderr), /msg="last words"/);
});
