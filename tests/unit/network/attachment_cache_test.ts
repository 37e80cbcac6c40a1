import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import { AttachmentCache } from "../../../src/network/attachment_cache.ts";
import { parseNetworkConfig } from "../../../src/network/config.ts";
import type { Attachment } from "../../../src/network/types.ts";

const CONFIG = { cniVersion: "1.0.0", name: "net", plugins: [{ type: "bridge" }] };
const NETWORK = parseNetworkConfig(JSON.stringify(CONFIG), "f");
const ATTACHMENT: Attachment = {
  containerId: "abc",
  netns: "/run/netns/1",
  ifName: "eth0",
  cniArgs: [["IgnoreUnknown", "1"]],
  capabilityArgs: { portMappings: [] },
};

async function withCache(body: (cache: AttachmentCache, directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(new AttachmentCache(directory), directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("commit() writes what libcni reads, for root only", async () => {
  await withCache(async (cache, directory) => {
    await cache.begin(NETWORK, ATTACHMENT);
    await cache.commit(NETWORK, ATTACHMENT, { ips: [] });
    const file = `${directory}/results/net-abc-eth0`;
    const entry = JSON.parse(await Deno.readTextFile(file));
    assert.deepEqual({ ...entry, config: JSON.parse(atob(entry.config)) }, {
      kind: "cniCacheV1",
      containerId: "abc",
      config: CONFIG,
      ifName: "eth0",
      networkName: "net",
      netns: "/run/netns/1",
      cniArgs: [["IgnoreUnknown", "1"]],
      capabilityArgs: { portMappings: [] },
      result: { ips: [] },
      runtime: "crio",
    });
    assert.equal(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
    const pending = await Array.fromAsync(Deno.readDir(`${directory}/pending`));
    assert.deepEqual(pending, []);
  });
});

Deno.test("find() gives what was begun or done, by any network name, and nothing after remove()", async () => {
  await withCache(async (cache) => {
    assert.equal(await cache.find("abc", { ifName: "eth0" }), undefined);
    await cache.begin(NETWORK, ATTACHMENT);
    assert.equal((await cache.find("abc", { ifName: "eth0", network: "net" }))?.result, undefined);
    await cache.commit(NETWORK, ATTACHMENT, { a: 1 });
    for (const network of ["net", "other", undefined]) {
      const found = await cache.find("abc", { ifName: "eth0", network });
      assert.deepEqual([found?.result, found?.attachment, found?.isOurs], [{ a: 1 }, ATTACHMENT, true]);
    }
    assert.equal(await cache.find("bc", { ifName: "eth0" }), undefined);
    await cache.remove(NETWORK, ATTACHMENT);
    await cache.remove(NETWORK, ATTACHMENT);
    assert.equal(await cache.find("abc", { ifName: "eth0" }), undefined);
  });
});

Deno.test("list() reads entries of other runtimes and leaves damaged files out", async () => {
  await withCache(async (cache, directory) => {
    await cache.begin(NETWORK, ATTACHMENT);
    const results = `${directory}/results`;
    const config = btoa(JSON.stringify({ name: "one", type: "ptp" }));
    const entry = { kind: "cniCacheV1", containerId: "x", ifName: "eth0", networkName: "one", config };
    const files = {
      foreign: entry,
      "no-kind": { ...entry, kind: "other" },
      "no-id": { ...entry, containerId: 7 },
      "bad-config": { ...entry, config: "!!" },
      "bad-network": { ...entry, config: btoa("{}") },
      "list": [],
    };
    for (const [name, value] of Object.entries(files)) {
      await Deno.writeTextFile(`${results}/${name}`, JSON.stringify(value));
    }
    await Deno.writeTextFile(`${results}/cut`, "{");
    const entries = await cache.list();
    assert.deepEqual(entries.map(({ network, isOurs }) => [network.name, isOurs]), [["one", false], ["net", true]]);
  });
});

Deno.test("begin() refuses an id that would leave the directory", async () => {
  await withCache(async (cache) => {
    for (const containerId of ["../../etc/x", "", "a/b"]) {
      await assert.rejects(cache.begin(NETWORK, { ...ATTACHMENT, containerId }), InvalidArgumentError);
    }
  });
});
