import assert from "node:assert/strict";
import type { Bytes } from "../../../src/image/pull/decompress.ts";
import { Unpackers, UnpackThread } from "../../../src/image/pull/unpacker.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";
import { type LayerBench, layerBench } from "../../fakes/layer_bench.ts";
import { tarOf } from "../../fakes/tar_builder.ts";

openLibraries();

const MAIN = new URL("../../../main.ts", import.meta.url).href;
const NEVER = new AbortController().signal;
const MIB = 1024 * 1024;
/** What fills the window to the thread several times. */
const MANY_BYTES = 12 * MIB;

async function* pieces(archive: Uint8Array<ArrayBuffer>, size = 100_000): AsyncGenerator<Bytes, void, void> {
  for (let i = 0; i < archive.length; i += size) yield await Promise.resolve(archive.subarray(i, i + size));
}

/** The first bytes of an archive, and then nothing until somebody gives up. */
async function* hanging(archive: Uint8Array<ArrayBuffer>, stopped: Promise<void>): AsyncGenerator<Bytes, void, void> {
  yield* pieces(archive);
  await stopped;
}

function target(bench: LayerBench, signal = NEVER): { directory: string; tarSplitPath: string; signal: AbortSignal } {
  return { directory: bench.layer, tarSplitPath: bench.tarSplit, signal };
}

function archiveOf(bytes: number): Uint8Array<ArrayBuffer> {
  const content = new Uint8Array(bytes).map((_, i) => i * 31 + (i >> 9));
  return tarOf({ name: "d/", mode: 0o700 }, { name: "d/f", content }, { name: "last", content: "end" });
}

Deno.test("UnpackThread makes what unpacking here makes", async () => {
  await using inThread = await layerBench();
  await using here = await layerBench();
  using thread = new UnpackThread(MAIN);
  const archive = archiveOf(MANY_BYTES);
  const before = archive.slice();
  const made = await thread.unpack(pieces(archive), target(inThread));
  assert.deepEqual(made, await here.unpack(before));
  const wholeLines = (text: string): string[] => text.split("\n").filter((line) => !/ 1[7-9]\d{8}\./.test(line));
  assert.deepEqual(wholeLines(await inThread.tree()), wholeLines(await here.tree()));
  assert.deepEqual(await Deno.readFile(inThread.tarSplit), await Deno.readFile(here.tarSplit));
  assert.deepEqual(archive, before);
});

Deno.test("UnpackThread passes on why a layer is refused, and goes on with the others", async () => {
  await using bad = await layerBench();
  await using good = await layerBench();
  using thread = new UnpackThread(MAIN);
  const hostile = tarOf({ name: "up", type: "1", link: "../../secret" });
  const [refused, made] = await Promise.allSettled([
    thread.unpack(pieces(hostile), target(bad)),
    thread.unpack(pieces(archiveOf(MANY_BYTES)), target(good)),
  ]);
  assert.equal(made.status, "fulfilled");
  assert.equal(refused.status, "rejected");
  assert.match(refused.reason.message, /layer archive: entry "up" at byte 0/);
  assert.equal(refused.reason.kind, "invalid_argument");
  await bad.checkOutside();
});

Deno.test("UnpackThread reports a bad archive although its source hangs", async () => {
  await using bench = await layerBench();
  using thread = new UnpackThread(MAIN);
  const { promise, resolve } = Promise.withResolvers<void>();
  const damaged = new Uint8Array(2 * MIB).fill(7);
  await assert.rejects(thread.unpack(hanging(damaged, promise), target(bench)), { kind: "data_loss" });
  resolve();
});

Deno.test("UnpackThread stops with the signal's reason, and is out of the directory then", async () => {
  await using bench = await layerBench();
  using thread = new UnpackThread(MAIN);
  const { promise, resolve } = Promise.withResolvers<void>();
  const controller = new AbortController();
  const reason = new Error("enough");
  const unpacking = thread.unpack(hanging(archiveOf(MANY_BYTES), promise), target(bench, controller.signal));
  while ((await Array.fromAsync(Deno.readDir(bench.layer))).length === 0) await new Promise((r) => setTimeout(r, 1));
  controller.abort(reason);
  await assert.rejects(unpacking, reason);
  resolve();
  await assert.rejects(Deno.stat(bench.tarSplit), Deno.errors.NotFound);
});

Deno.test("UnpackThread throws what the source throws", async () => {
  await using bench = await layerBench();
  using thread = new UnpackThread(MAIN);
  const lost = new Error("connection lost");
  async function* cut(): AsyncGenerator<Bytes, void, void> {
    yield* pieces(archiveOf(MANY_BYTES).subarray(0, 3 * MIB));
    throw lost;
  }
  await assert.rejects(thread.unpack(cut(), target(bench)), lost);
  await assert.rejects(Deno.stat(bench.tarSplit), Deno.errors.NotFound);
});

Deno.test("UnpackThread fails its layers when it ends", async () => {
  await using bench = await layerBench();
  const thread = new UnpackThread(MAIN);
  const { promise, resolve } = Promise.withResolvers<void>();
  const unpacking = thread.unpack(hanging(archiveOf(MIB), promise), target(bench));
  thread[Symbol.dispose]();
  await assert.rejects(unpacking, { kind: "internal" });
  assert.notEqual(thread.state, "good");
  resolve();
});

Deno.test("Unpackers unpack here where threads cannot be started", async () => {
  await using bench = await layerBench();
  using unpackers = new Unpackers(new URL("./no_such_module.ts", import.meta.url).href);
  unpackers.prepare(100 * MIB);
  await assert.rejects(unpackers.choose(MIB)(pieces(archiveOf(MIB)), target(bench)), { kind: "internal" });
  unpackers.prepare(100 * MIB);
  const { entryCount } = await unpackers.choose(MIB)(pieces(archiveOf(MIB)), target(bench));
  assert.equal(entryCount, 3);
});

Deno.test("UnpackThread leaves, and takes no layer after that", async () => {
  await using bench = await layerBench();
  const thread = new UnpackThread(MAIN);
  await thread.unpack(pieces(archiveOf(MIB)), target(bench));
  thread.leave();
  await assert.rejects(thread.unpack(pieces(archiveOf(MIB)), target(bench)), { kind: "internal" });
  thread[Symbol.dispose]();
});
