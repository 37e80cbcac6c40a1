import assert from "node:assert/strict";
import { FakeRegistry } from "../../fakes/registry.ts";
import type { Effect } from "../../fakes/registry/faults.ts";

const content = new TextEncoder().encode("x".repeat(1000));

async function withFault(effect: Effect, check: (url: string) => Promise<void>): Promise<void> {
  await using registry = await FakeRegistry.start({ faults: [{ path: "/blobs/", effect }] });
  await check(`${registry.origin}/v2/a/blobs/${registry.addBlob(content)}`);
}

Deno.test("a fault hits the nth matching request only", async () => {
  await using registry = await FakeRegistry.start();
  registry.fail({
    path: /blobs\/sha256/,
    nth: [1, 3],
    effect: { kind: "status", status: 429, headers: { "retry-after": "1" } },
  });
  const url = `${registry.origin}/v2/a/blobs/${registry.addBlob(content)}`;
  const seen: number[] = [];
  for (let i = 0; i < 4; i++) {
    const response = await fetch(url);
    await response.body?.cancel();
    seen.push(response.status);
    if (response.status === 429) assert.equal(response.headers.get("retry-after"), "1");
  }
  assert.deepEqual(seen, [429, 200, 429, 200]);
  assert.deepEqual(registry.requests.map((request) => request.status), seen);
});

Deno.test("reset ends the connection before or within the answer", async () => {
  await withFault({ kind: "reset" }, async (url) => {
    await assert.rejects(fetch(url), TypeError);
  });
  await withFault({ kind: "reset", afterBytes: 10 }, async (url) => {
    const response = await fetch(url);
    await assert.rejects(response.arrayBuffer(), TypeError);
  });
});

Deno.test("truncate sends the whole length but only some bytes", async () => {
  await withFault({ kind: "truncate", afterBytes: 10 }, async (url) => {
    const response = await fetch(url);
    assert.equal(response.headers.get("content-length"), "1000");
    await assert.rejects(response.arrayBuffer(), TypeError);
  });
});

Deno.test("stall says nothing until the client goes", async () => {
  await withFault({ kind: "stall", afterBytes: 5 }, async (url) => {
    const response = await fetch(url);
    const reader = response.body?.getReader();
    assert.equal((await reader?.read())?.value?.length, 5);
    await reader?.cancel();
  });
});

Deno.test("slow limits the speed", async () => {
  await withFault({ kind: "slow", bytesPerSecond: 5000 }, async (url) => {
    const startMs = performance.now();
    assert.equal((await (await fetch(url)).arrayBuffer()).byteLength, 1000);
    assert.ok(performance.now() - startMs > 120);
  });
});

Deno.test("corrupt changes one byte and keeps the length", async () => {
  await withFault({ kind: "corrupt" }, async (url) => {
    const body = new Uint8Array(await (await fetch(url)).arrayBuffer());
    assert.equal(body.length, 1000);
    assert.equal(body.filter((byte) => byte !== "x".charCodeAt(0)).length, 1);
  });
});

Deno.test("length claims more or less than there is", async () => {
  await withFault({ kind: "length", claimedBytes: 2000 }, async (url) => {
    const response = await fetch(url);
    await assert.rejects(response.arrayBuffer(), TypeError);
  });
  await withFault({ kind: "length", claimedBytes: 10 }, async (url) => {
    assert.equal((await (await fetch(url)).arrayBuffer()).byteLength, 10);
  });
});

Deno.test("pad, headers and custom change what is sent", async () => {
  await withFault({ kind: "pad", toBytes: 5000 }, async (url) => {
    assert.equal((await (await fetch(url)).arrayBuffer()).byteLength, 5000);
  });
  await withFault({ kind: "headers", headers: { "docker-content-digest": "sha256:0" } }, async (url) => {
    const response = await fetch(url);
    await response.body?.cancel();
    assert.equal(response.headers.get("docker-content-digest"), "sha256:0");
  });
  await withFault({ kind: "custom", change: (reply) => ({ ...reply, status: 418 }) }, async (url) => {
    const response = await fetch(url);
    await response.body?.cancel();
    assert.equal(response.status, 418);
  });
});
