import assert from "node:assert/strict";
import { NotFoundError } from "../../../../src/base/errors.ts";
import type { ContainerId } from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { ImageVolumes } from "../../../../src/container/volumes/image_volumes.ts";
import type { ContainerImage } from "../../../../src/container/ports.ts";
import type { ContainerRecord } from "../../../../src/container/types.ts";
import { unmount } from "../../../../src/linux/mount.ts";
import { readMounts } from "../../../../src/linux/mountinfo.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import { RecordStore } from "../../../../src/state/record_store.ts";
import { containerRecord } from "../../../fakes/records.ts";

openLibraries();

const signal = new AbortController().signal;

interface Bench {
  readonly directory: string;
  readonly volumes: ImageVolumes;
  readonly records: RecordStore<ContainerRecord>;
  /** Users of each image's mount in the store. */
  readonly counts: Map<string, number>;
  add(name: string): Promise<ContainerRecord>;
  mounts(): Promise<string[]>;
}

async function withVolumes(body: (bench: Bench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/image/etc`, { recursive: true });
    await Deno.mkdir(`${directory}/volumes`);
    await Deno.writeTextFile(`${directory}/image/etc/file`, "inside");
    await Deno.symlink("/etc/file", `${directory}/image/link`);
    const records = await RecordStore.open<ContainerRecord>({
      directory: `${directory}/records`,
      what: "container",
      log: silentLogger,
      parse: (json) => json as ContainerRecord,
    });
    const counts = new Map<string, number>();
    const count = (id: string, change: number): void => void counts.set(id, (counts.get(id) ?? 0) + change);
    const volumes = new ImageVolumes({
      artifacts: { volume: () => Promise.resolve(undefined) },
      mountsArtifacts: true,
      records,
      images: {
        resolve: (reference) => {
          if (reference === "absent") return Promise.reject(new NotFoundError("image", reference));
          return Promise.resolve({ id: reference } as ContainerImage);
        },
      },
      mounts: {
        mountImage: (id) => {
          count(id, 1);
          return Promise.resolve(`${directory}/image`);
        },
        mountImageMapped: () => Promise.reject(new Error("not here")),
        unmountImage: (id) => {
          count(id, -1);
          return Promise.resolve();
        },
      },
      directory: `${directory}/volumes`,
      log: silentLogger,
    });
    const add = async (name: string): Promise<ContainerRecord> => {
      const record = { ...containerRecord(), id: name as ContainerId, name };
      await records.insert(record);
      return record;
    };
    const mounts = async (): Promise<string[]> =>
      (await readMounts()).map(({ mountPoint }) => mountPoint).filter((path) => path.startsWith(`${directory}/`));
    await body({ directory, volumes, records, counts, add, mounts });
    assert.deepEqual(await mounts(), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const whole = (reference: string): { reference: string; subPath: string } => ({ reference, subPath: "" });

Deno.test("ImageVolumes mounts an image once for all its containers, until the last one is gone", async () => {
  await withVolumes(async ({ directory, volumes, records, counts, add, mounts }) => {
    const [one, two] = [await add("one"), await add("two")];
    const place = `${directory}/unused`;
    const opened = await Promise.all(
      [one, one, two].map((record) =>
        volumes.open(record, whole("i"), { place, signal, user: undefined, namespace: "default" })
      ),
    );
    assert.deepEqual(opened.map(({ source }) => source), Array(3).fill(`${directory}/volumes/i`));
    assert.deepEqual([await mounts(), counts.get("i")], [[`${directory}/volumes/i`], 1]);
    await assert.rejects(Deno.writeTextFile(`${directory}/volumes/i/etc/new`, ""), /read-only/i);
    await volumes.release(records.get("one" as ContainerId) ?? one);
    await volumes.release(records.get("one" as ContainerId) ?? one);
    assert.deepEqual([(await mounts()).length, counts.get("i")], [1, 1]);
    await volumes.release(records.get("two" as ContainerId) ?? two);
    assert.equal(counts.get("i"), 0);
  });
});

Deno.test("ImageVolumes gives directories and files by their path in the image, whatever its links say", async () => {
  await withVolumes(async ({ directory, volumes, records, add, mounts }) => {
    const record = await add("one");
    const open = async (subPath: string, index: number): Promise<string> => {
      const place = `${directory}/run/image-volumes/${index}`;
      return (await volumes.open(record, { reference: "i", subPath }, {
        place,
        signal,
        user: undefined,
        namespace: "default",
      })).source;
    };
    assert.equal(await Deno.readTextFile(`${await open("etc", 0)}/file`), "inside");
    assert.equal(await Deno.readTextFile(await open("link", 1)), "inside");
    await assert.rejects(open("none", 2), /^StageError: ImageVolumeMountFailed: image i, path none: .*ENOENT/);
    for (const path of await mounts()) if (path.includes("/run/")) await unmount(path);
    await volumes.release(records.get("one" as ContainerId) ?? record);
  });
});

Deno.test("ImageVolumes names the kubelet's reason when the image is not there", async () => {
  await withVolumes(async ({ directory, volumes, add }) => {
    const opening = volumes.open(await add("one"), whole("absent"), {
      place: `${directory}/unused`,
      signal,
      user: undefined,
      namespace: "default",
    });
    await assert.rejects(opening, /ImageVolumeMountFailed: image absent: image "absent" not found/);
  });
});

Deno.test("ImageVolumes.sweep() unmounts what no record names", async () => {
  await withVolumes(async ({ directory, volumes, records, counts, add, mounts }) => {
    const [lost, kept] = [await add("lost"), await add("kept")];
    await volumes.open(lost, whole("a"), { place: "", signal, user: undefined, namespace: "default" });
    await volumes.open(kept, whole("b"), { place: "", signal, user: undefined, namespace: "default" });
    await records.remove("lost" as ContainerId);
    await volumes.sweep();
    assert.deepEqual([await mounts(), counts.get("a")], [[`${directory}/volumes/b`], 0]);
    await assert.rejects(Deno.stat(`${directory}/volumes/a`), Deno.errors.NotFound);
    await volumes.release(records.get("kept" as ContainerId) ?? kept);
  });
});
