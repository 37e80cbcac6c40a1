import assert from "node:assert/strict";
import { InvalidArgumentError, ResourceExhaustedError } from "../../../src/base/errors.ts";
import type { IdMaps } from "../../../src/base/id_maps.ts";
import type { PodSecurity } from "../../../src/sandbox/types.ts";
import { parseUserNamespace } from "../../../src/sandbox/user_namespaces/annotation.ts";
import { fill, parseSubordinateIds, without } from "../../../src/sandbox/user_namespaces/pool.ts";
import { UserNamespaces } from "../../../src/sandbox/user_namespaces/user_namespaces.ts";
import { sandboxSpec } from "../../fakes/records.ts";

const ANNOTATION = "userns-mode.crio.io";
const NONE = { uidMappings: "", gidMappings: "", minimumMappableUid: -1, minimumMappableGid: -1 };

function map(
  containerId: number,
  hostId: number,
  length: number,
): { containerId: number; hostId: number; length: number } {
  return { containerId, hostId, length };
}

function both(...maps: IdMaps["uidMaps"]): IdMaps {
  return { uidMaps: maps, gidMaps: maps };
}

const POOL = "root:1:9\ncontainers:100000:65536\ncontainers:300000:131072\n# no\ncontainers:bad:1\n";

async function mapsOf(
  { security = {}, mode, config = {}, used = [] }: {
    security?: Partial<PodSecurity>;
    mode?: string;
    config?: Partial<typeof NONE>;
    used?: readonly IdMaps[];
  },
): Promise<IdMaps | undefined> {
  const directory = await Deno.makeTempDir();
  try {
    for (const file of ["subuid", "subgid"]) await Deno.writeTextFile(`${directory}/${file}`, POOL);
    const spec = sandboxSpec();
    const namespaces = new UserNamespaces({
      config: { ...NONE, ...config },
      used: () => Promise.resolve(used),
      directory,
    });
    const annotations = mode === undefined ? {} : { [ANNOTATION]: mode };
    return await namespaces.mapsOf({ ...spec, security: { ...spec.security, ...security } }, annotations);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function requested(user: IdMaps | "node"): Partial<PodSecurity> {
  return { namespaces: { ...sandboxSpec().security.namespaces, user } };
}

Deno.test("mapsOf() takes the request before the annotation before the configuration", async () => {
  const config = { uidMappings: "0:7:10", gidMappings: "0:8:10" };
  const mode = "private:uidmapping=0:5:10;gidmapping=0:6:10";
  const security = requested(both(map(0, 1, 10)));
  assert.deepEqual(await mapsOf({ security, mode, config }), both(map(0, 1, 10)));
  assert.deepEqual(await mapsOf({ mode, config }), { uidMaps: [map(0, 5, 10)], gidMaps: [map(0, 6, 10)] });
  assert.deepEqual(await mapsOf({ config }), { uidMaps: [map(0, 7, 10)], gidMaps: [map(0, 8, 10)] });
  assert.equal(await mapsOf({ security: requested("node"), mode, config }), undefined);
  assert.equal(await mapsOf({}), undefined);
});

Deno.test("mapsOf() gives ids that nobody else has", async () => {
  assert.deepEqual(await mapsOf({ mode: "auto" }), both(map(0, 100_000, 65_536)));
  const used = [both(map(0, 100_000, 65_536)), both(map(0, 300_000, 1000))];
  assert.deepEqual(await mapsOf({ mode: "auto", used }), both(map(0, 301_000, 65_536)));
  await assert.rejects(mapsOf({ mode: "auto:size=200000" }), ResourceExhaustedError);
  assert.deepEqual(await mapsOf({ mode: "auto:size=10" }), both(map(0, 100_000, 10)));
});

Deno.test("mapsOf() keeps the pod's user, makes it root, or maps what is given", async () => {
  const security = { runAsUser: 1000, runAsGroup: 2000 };
  assert.deepEqual(await mapsOf({ mode: "auto:size=3000;keep-id=true", security }), {
    uidMaps: [map(0, 100_000, 1000), map(1000, 1000, 1), map(1001, 101_000, 1999)],
    gidMaps: [map(0, 100_000, 2000), map(2000, 2000, 1), map(2001, 102_000, 999)],
  });
  assert.deepEqual(await mapsOf({ mode: "auto:size=10;map-to-root=true", security }), {
    uidMaps: [map(0, 1000, 1), map(1, 100_000, 9)],
    gidMaps: [map(0, 2000, 1), map(1, 100_000, 9)],
  });
  assert.deepEqual(await mapsOf({ mode: "auto:size=10;uidmapping=5:100003:2" }), {
    uidMaps: [map(0, 100_005, 5), map(5, 100_003, 2), map(7, 100_010, 3)],
    gidMaps: [map(0, 100_000, 10)],
  });
});

const REFUSED: ReadonlyArray<[string, Parameters<typeof mapsOf>[0]]> = [
  ["another mode", { mode: "host" }],
  ["an unknown setting", { mode: "auto:sise=3" }],
  ["a size of nothing", { mode: "auto:size=0" }],
  ["both ways to place the user", { mode: "auto:keep-id=true;map-to-root=true" }],
  ["a private one without groups", { mode: "private:uidmapping=0:1:2" }],
  ["a range that is none", { mode: "private:uidmapping=0:1;gidmapping=0:1:2" }],
  ["a map without root", { security: requested(both(map(1, 1000, 10))) }],
  ["ids that are mapped twice", { security: requested(both(map(0, 1000, 10), map(9, 5000, 10))) }],
  ["node ids that are mapped twice", { security: requested(both(map(0, 1000, 10), map(20, 1009, 10))) }],
  ["an id below the lowest that may be mapped", {
    mode: "private:uidmapping=0:5:9;gidmapping=0:5:9",
    config: { minimumMappableGid: 6 },
  }],
];

for (const [name, wish] of REFUSED) {
  Deno.test(`mapsOf() refuses ${name}`, async () => {
    await assert.rejects(mapsOf(wish), InvalidArgumentError);
  });
}

Deno.test("parseUserNamespace() takes empty settings", () => {
  assert.deepEqual(parseUserNamespace("auto:"), {
    kind: "auto",
    size: undefined,
    keepId: false,
    mapToRoot: false,
    fixed: { uidMaps: [], gidMaps: [] },
  });
});

Deno.test("fill() uses several pieces only when none is long enough", () => {
  const free = [{ start: 10, end: 15 }, { start: 20, end: 40 }];
  assert.deepEqual(fill({ size: 8, fixed: [], free, what: "subuid" }), [map(0, 20, 8)]);
  assert.deepEqual(fill({ size: 24, fixed: [], free, what: "subuid" }), [map(0, 10, 5), map(5, 20, 19)]);
});

Deno.test("without() cuts ranges, parseSubordinateIds() reads one owner's", () => {
  assert.deepEqual(
    without([{ start: 0, end: 10 }], [{ start: 3, end: 5 }, { start: 9, end: 20 }, { start: 0, end: 1 }]),
    [
      { start: 1, end: 3 },
      { start: 5, end: 9 },
    ],
  );
  assert.deepEqual(parseSubordinateIds(POOL), [{ start: 100_000, end: 165_536 }, { start: 300_000, end: 431_072 }]);
});
