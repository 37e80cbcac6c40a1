import { equal, ok } from "node:assert/strict";
import { PassThrough } from "node:stream";
import { openPipe, readableOf } from "../../../../src/linux/pipe.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { within } from "../../../../src/oci/runtime/waits.ts";
import { Pump } from "../../../../src/oci/runtime/pump.ts";

openLibraries();

const QUIET_MS = 100;

/** Something comes into the pipe, and this thread gets no time to read it. */
function writeAndStall(fd: number, ms: number): void {
  Deno.writeFileSync(`/proc/self/fd/${fd}`, new TextEncoder().encode("late"));
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

Deno.test("Pump.drain() does not take a stall of its own thread for silence", async () => {
  using pipe = openPipe();
  const source = readableOf(pipe.read);
  const sink = new PassThrough();
  const pump = new Pump(source, sink);
  const drained = pump.drain(QUIET_MS);
  writeAndStall(pipe.write.fd, 3 * QUIET_MS);
  await drained;
  equal(sink.read()?.toString(), "late");
  source.destroy();
});

Deno.test("within() does not count a stall of its own thread", async () => {
  using pipe = openPipe();
  const source = readableOf(pipe.read);
  const { promise: read, resolve } = Promise.withResolvers<void>();
  let seen = "";
  source.on("data", (chunk: Uint8Array) => {
    seen = new TextDecoder().decode(chunk);
    resolve();
  });
  const waited = within(read, QUIET_MS);
  writeAndStall(pipe.write.fd, 3 * QUIET_MS);
  await waited;
  equal(seen, "late");
  source.destroy();
});

Deno.test("within() ends when its time is over", async () => {
  const startMs = performance.now();
  await within(new Promise(() => {}), QUIET_MS);
  ok(performance.now() - startMs >= QUIET_MS - 1);
  await within(new Promise(() => {}), 0);
});

Deno.test("Pump.drain() waits no longer than it is told when the pipe stays open and silent", async () => {
  using pipe = openPipe();
  const source = readableOf(pipe.read);
  const startMs = performance.now();
  await new Pump(source, undefined).drain(QUIET_MS);
  const tookMs = performance.now() - startMs;
  ok(tookMs >= QUIET_MS - 1 && tookMs < 20 * QUIET_MS, `${tookMs} ms`);
  source.destroy();
});
