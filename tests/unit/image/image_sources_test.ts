import { deepEqual, equal, match, throws } from "node:assert/strict";
import { parseImageId } from "../../../src/base/ids.ts";
import { NotFoundError } from "../../../src/base/errors.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { ImportedImage } from "../../../src/image/import/archive_import.ts";
import { ImageSources, parsePlace, parseSource } from "../../../src/image/import/image_sources.ts";
import { ImportRecords } from "../../../src/image/import/import_records.ts";

const ID = parseImageId("a".repeat(64));
const signal = new AbortController().signal;

Deno.test("parsePlace() reads transports of files as containers-transports(5) does, and nothing else", () => {
  deepEqual(parsePlace("oci:/srv/a:v1"), { place: { transport: "oci", path: "/srv/a" }, label: "v1" });
  deepEqual(parsePlace("oci-archive:/srv/a.tar:r.example/app:1"), {
    place: { transport: "oci-archive", path: "/srv/a.tar" },
    label: "r.example/app:1",
  });
  deepEqual(parsePlace("dir:/srv/app:1"), { place: { transport: "dir", path: "/srv/app:1" } });
  deepEqual(parsePlace("docker-archive:/srv/a.tar"), { place: { transport: "docker-archive", path: "/srv/a.tar" } });
  for (const name of ["registry.k8s.io/pause:3.10", "docker://x", "oci.example/app:1"]) {
    equal(parsePlace(name), undefined);
  }
  for (const bad of ["oci:relative", "dir:", "dir:/a/../b"]) throws(() => parsePlace(bad), /has to be absolute/);
});

Deno.test("parseSource() wants a prefix and a place", () => {
  deepEqual(parseSource("r.example/team/ = dir:/media/x/"), {
    prefix: "r.example/team",
    place: { transport: "dir", path: "/media/x" },
  });
  for (const bad of ["dir:/x", "=dir:/x", "r.example=docker://r2.example"]) {
    throws(() => parseSource(bad), /is not PREFIX=TRANSPORT:PATH/);
  }
});

Deno.test("ImageSources takes the most particular place, and adds what is behind the prefix to directories", async () => {
  const asked: string[] = [];
  const sources = new ImageSources([
    "r.example=dir:/usb",
    "r.example/team=oci:/layouts",
    "r.example/team/app:1=oci-archive:/app.tar",
    "r.example/set=docker-archive:/set.tar",
  ], {
    archives: {
      named: (place, { name, tag, only }) => {
        asked.push([place.transport, place.path, name, tag, only].join(" "));
        throw new NotFoundError("image", name);
      },
    },
    records: { noteFetched: () => Promise.resolve() },
    log: silentLogger,
  });
  const names = [
    "r.example/team/app:1",
    "r.example/team/app:2",
    "r.example/x/y:3",
    "r.example/set/z:4",
    "r.examples/no:1",
    "other/a:1",
  ];
  equal(await sources.fetch(names, { signal }), undefined);
  deepEqual(asked, [
    "oci-archive /app.tar r.example/team/app:1 1 true",
    "oci /layouts/app r.example/team/app:2 2 true",
    "dir /usb/x/y:3 r.example/x/y:3 3 true",
    "docker-archive /set.tar r.example/set/z:4 4 false",
  ]);
});

Deno.test("ImportRecords outlive a restart, and a damaged file costs no more than reading the archives again", async () => {
  const directory = await Deno.makeTempDir({ prefix: "records-" });
  const said: string[] = [];
  const log = { ...silentLogger, warn: (text: string): void => void said.push(text) };
  const path = `${directory}/archives.json`;
  const image: ImportedImage = {
    id: ID,
    names: ["r.example/a:1"],
    transport: "oci-archive",
    path: "/a.tar",
    label: "a",
  };
  try {
    const first = new ImportRecords(path, log);
    await first.load();
    await Promise.all([
      first.set("a.tar", { stamp: "1", images: [image] }),
      first.set("b.tar", { stamp: "2", images: [] }),
    ]);
    await first.noteFetched({ ...image, transport: "dir", path: "/usb" });
    await first.keepOnly(new Set(["a.tar"]));
    const second = new ImportRecords(path, log);
    await second.load();
    deepEqual([...second.entries()], [["a.tar", { stamp: "1", images: [image] }]]);
    deepEqual(second.originsOf(ID).map(({ transport }) => transport), ["oci-archive", "dir"]);
    equal(said.length, 0);
    const damaged = [
      '{"version":1,"archives":{"a.tar":{"stamp":"1","images":[{"id":"zz","names":[]}]}},"fetched":[]}',
      "{",
      '{"version":2}',
    ];
    for (const text of damaged) {
      await Deno.writeTextFile(path, text);
      const third = new ImportRecords(path, log);
      await third.load();
      deepEqual([...third.entries()], []);
    }
    equal(said.length, damaged.length);
    match(said[0] ?? "", /is damaged: they are read again/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
