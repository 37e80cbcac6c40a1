import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { parseDigest } from "../../../src/base/ids.ts";
import { BlobReader } from "../../../src/image/distribution/blob_reader.ts";
import { RangeWindow, type WindowPolicy } from "../../../src/image/distribution/range_window.ts";
import { RegistryHost } from "../../../src/image/distribution/registry_host.ts";
import { Transports } from "../../../src/image/distribution/transports.ts";
import { FakeRegistry, type FakeRegistryOptions } from "../../fakes/registry.ts";
import type { Effect } from "../../fakes/registry/faults.ts";

const MIB = 1024 * 1024;
const BLOB = new Uint8Array(4 * MIB).map((_, i) => (i * 7919) >> 5);
const SHA256 = createHash("sha256").update(BLOB).digest("hex");
const SEGMENT = 128 * 1024;
/** As the real one, but for a blob of 4 MiB. */
const POLICY: WindowPolicy = {
  segmentBytes: SEGMENT,
  segments: 4,
  afterMs: 50,
  fastBytesPerSecond: 100 * MIB,
  gain: 1.2,
};
const SLOW: Effect = { kind: "slow", bytesPerSecond: 2 * MIB };
/** Requests for one segment each. */
const SEGMENTS = /^bytes=\d+-\d+$/;

interface Outcome {
  readonly sha256: string;
  readonly ranges: readonly string[];
}

/** Reads the blob from a registry with faults, whose later requests win over `SLOW` for all. */
async function download(
  options: FakeRegistryOptions & { readonly policy?: Partial<WindowPolicy> },
): Promise<Outcome> {
  await using registry = await FakeRegistry.start({
    ...options,
    faults: [...options.faults ?? [], { path: "/blobs/", effect: SLOW }],
  });
  using transports = new Transports({ certificateDirectories: [] });
  const host = new RegistryHost({ host: registry.host, insecure: true, transports, retry: { baseMs: 1, maxMs: 2 } });
  const descriptor = { digest: parseDigest(registry.addBlob(BLOB)), sizeBytes: BLOB.length };
  await using reader = new BlobReader([{ host, repositoryPath: "big" }], descriptor, {
    signal: new AbortController().signal,
    window: { ...POLICY, ...options.policy },
  });
  const hash = createHash("sha256");
  for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) hash.update(piece);
  const ranges = registry.requestsTo("registry", "/blobs/").map(({ range }) => range ?? "");
  return { sha256: hash.digest("hex"), ranges };
}

function segmentsOf({ ranges }: Outcome): readonly string[] {
  return ranges.filter((range) => SEGMENTS.test(range));
}

Deno.test("BlobReader reads by several requests at once where the connection limits", async () => {
  const startMs = performance.now();
  const outcome = await download({});
  equal(outcome.sha256, SHA256);
  ok(segmentsOf(outcome).length > 10, outcome.ranges.join(" "));
  equal(new Set(outcome.ranges).size, outcome.ranges.length, "nothing is asked for twice");
  // One stream needs 2 s for what is left then; four need half a second. Not a figure: only that they run side by side.
  ok(performance.now() - startMs < 1900, `${performance.now() - startMs} ms`);
});

Deno.test("BlobReader keeps one stream that is fast, whose server knows no ranges, or that is nearly at its end", async () => {
  for (
    const options of [
      { policy: { fastBytesPerSecond: MIB } },
      { ranges: false },
      { policy: { segmentBytes: 2 * MIB } },
    ]
  ) {
    const outcome = await download(options);
    deepEqual([outcome.sha256, outcome.ranges], [SHA256, [""]]);
  }
});

Deno.test("BlobReader goes back to one stream when a window is not faster, and opens no other", async () => {
  const crawl: Effect = {
    kind: "custom",
    change: (reply, { headers }) => {
      return { ...reply, bytesPerSecond: SEGMENTS.test(headers.get("range") ?? "") ? MIB / 4 : 2 * MIB };
    },
  };
  const outcome = await download({
    policy: { segmentBytes: 64 * 1024, segments: 2 },
    faults: [{ path: "/blobs/", effect: crawl }],
  });
  equal(outcome.sha256, SHA256);
  ok(segmentsOf(outcome).length <= 6, outcome.ranges.join(" "));
  equal(outcome.ranges.filter((range) => /^bytes=\d+-$/.test(range)).length, 1, outcome.ranges.join(" "));
});

for (
  const [what, effect] of Object.entries<Effect>({
    "is cut": { kind: "truncate", afterBytes: 1000 },
    "is reset": { kind: "reset", afterBytes: 1000 },
    "fails": { kind: "status", status: 503 },
    "is shorter than asked": {
      kind: "custom",
      change: (reply, { headers }) => {
        const [, from = "", to = ""] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "") ?? [];
        if (to === "") return reply;
        const end = Number(to) - 1000;
        const range = { "content-range": `bytes ${from}-${end}/${BLOB.length}` };
        return { ...reply, headers: { ...reply.headers, ...range }, body: BLOB.subarray(Number(from), end + 1) };
      },
    },
    "is refused": { kind: "custom", change: (reply) => ({ ...reply, status: 416, body: new Uint8Array() }) },
  })
) {
  Deno.test(`BlobReader goes on with one stream where a segment ${what}`, async () => {
    const outcome = await download({ faults: [{ path: "/blobs/", nth: 6, effect }] });
    equal(outcome.sha256, SHA256);
  });
}

Deno.test("BlobReader refuses a blob one of whose segments is wrong", async () => {
  await rejects(download({ faults: [{ path: "/blobs/", nth: 6, effect: { kind: "corrupt" } }] }), {
    kind: "data_loss",
  });
  const other: Effect = {
    kind: "custom",
    change: (reply) => ({ ...reply, headers: { ...reply.headers, "content-range": "bytes 0-131071/4194304" } }),
  };
  await rejects(download({ faults: [{ path: "/blobs/", nth: 6, effect: other }] }), { kind: "data_loss" });
});

Deno.test("RangeWindow holds no more segments than it may, in order, and none after its end", async () => {
  let [running, most] = [0, 0];
  const window = RangeWindow.open(
    async ({ from, end }, stop) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, from === 0 ? 20 : 1));
      stop.throwIfAborted();
      running--;
      return new Uint8Array(end - from).fill(from / 10);
    },
    { from: 0, end: 95 },
    { ...POLICY, segmentBytes: 10 },
  );
  ok(window !== undefined);
  const seen: number[] = [];
  for (let piece = await window.read(); piece !== undefined; piece = await window.read()) {
    seen.push(piece[0] ?? -1);
  }
  deepEqual([seen, most], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4]);
  await window[Symbol.asyncDispose]();
});

Deno.test("RangeWindow.open() gives two at a time in a process", async () => {
  const open = (): RangeWindow | undefined =>
    RangeWindow.open(() => Promise.resolve(new Uint8Array(1)), { from: 0, end: 9 }, POLICY);
  const [first, second, third] = [open(), open(), open()];
  deepEqual([first !== undefined, second !== undefined, third], [true, true, undefined]);
  await first?.[Symbol.asyncDispose]();
  await first?.[Symbol.asyncDispose]();
  const [fourth, fifth] = [open(), open()];
  deepEqual([fourth !== undefined, fifth], [true, undefined]);
  await second?.[Symbol.asyncDispose]();
  await fourth?.[Symbol.asyncDispose]();
});
