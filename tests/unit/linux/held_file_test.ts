import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { HeldFile, isBeingWritten } from "../../../src/linux/held_file.ts";
import { DirectoryWatch } from "../../../src/linux/inotify.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "held-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true }).catch(() => {});
  }
}

Deno.test("isBeingWritten() knows of every writer, also one that appends, and of none that reads", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/file`;
    {
      using _writer = await Deno.open(path, { write: true, create: true });
      equal(isBeingWritten(path), "yes");
    }
    equal(isBeingWritten(path), "no");
    using _reader = await Deno.open(path);
    equal(isBeingWritten(path), "no");
    using _appender = await Deno.open(path, { append: true });
    equal(isBeingWritten(path), "yes");
    await Deno.symlink(path, `${directory}/link`);
    throws(() => isBeingWritten(`${directory}/link`), /ELOOP/);
  });
});

Deno.test("HeldFile stays the same file under another name, and gives any number of views", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/file`;
    await Deno.writeTextFile(path, "first");
    using held = await HeldFile.open(path);
    await Deno.remove(path);
    await Deno.writeTextFile(path, "second");
    const [one, two] = [await held.view(), await held.view()];
    await one.seek(3, Deno.SeekMode.Start);
    const read = async (file: Deno.FsFile): Promise<string> => {
      const bytes = new Uint8Array(10);
      const count = await file.read(bytes);
      file.close();
      return new TextDecoder().decode(bytes.subarray(0, count ?? 0));
    };
    deepEqual([await read(one), await read(two), held.sizeBytes], ["st", "first", 5]);
    await rejects(HeldFile.open(directory), /open as a regular file/);
  });
});

Deno.test("HeldFile.temporary() has no name, and its size is measured", async () => {
  await withDirectory(async (directory) => {
    using held = await HeldFile.temporary(directory);
    using view = await held.view({ write: true });
    await view.write(new Uint8Array(1000));
    await held.measure();
    equal(held.sizeBytes, 1000);
    deepEqual(await Array.fromAsync(Deno.readDir(directory)), []);
  });
});

Deno.test("DirectoryWatch hears of closed writers, renames and links, not of readers, and of its end", async () => {
  await withDirectory(async (directory) => {
    let events = 0;
    let heard = Promise.withResolvers<void>();
    const next = async (cause: () => Promise<unknown>): Promise<void> => {
      heard = Promise.withResolvers();
      await cause();
      await heard.promise;
    };
    await using watch = new DirectoryWatch(directory, () => {
      events++;
      heard.resolve();
    });
    await next(() => Deno.writeTextFile(`${directory}/a`, "x"));
    await next(() => Deno.symlink("/nowhere", `${directory}/link`));
    await next(() => Deno.rename(`${directory}/a`, `${directory}/b`));
    await next(async () => await new Deno.Command("mkfifo", { args: [`${directory}/pipe`] }).output());
    const before = events;
    await Deno.readTextFile(`${directory}/b`);
    isBeingWritten(`${directory}/b`);
    // An event after those shows that they made none.
    await next(() => Deno.remove(`${directory}/b`));
    ok(events - before <= 1);
    await Deno.mkdir(`${directory}/sub`);
    watch.add(`${directory}/sub`);
    await next(() => Deno.writeTextFile(`${directory}/sub/index.json`, "{}"));
    ok(watch.isOpen);
    await Deno.remove(directory, { recursive: true });
    while (watch.isOpen) {
      heard = Promise.withResolvers();
      if (watch.isOpen) await heard.promise;
    }
  });
});
