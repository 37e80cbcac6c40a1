import assert from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { watchDirectories } from "../../../src/network/directory_watch.ts";

/** Each call of `change` gives a promise of the next `onChange`. */
async function watching(
  directories: readonly string[],
  body: (change: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  let next = Promise.withResolvers<void>();
  const first = next.promise;
  const done = watchDirectories(directories, {
    signal: stop.signal,
    logger: silentLogger,
    onChange: () => {
      next.resolve();
      next = Promise.withResolvers();
      return Promise.resolve();
    },
  });
  await first;
  try {
    await body(() => next.promise);
  } finally {
    stop.abort();
    await done;
  }
}

Deno.test("watchDirectories() reports new, changed and removed files, in bursts", async () => {
  const directory = await Deno.makeTempDir();
  await watching([directory], async (change) => {
    let seen = change();
    await Deno.writeTextFile(`${directory}/a`, "1");
    await Deno.writeTextFile(`${directory}/b`, "1");
    await seen;
    seen = change();
    await Deno.rename(`${directory}/a`, `${directory}/c`);
    await seen;
    seen = change();
    await Deno.remove(`${directory}/c`);
    await seen;
  });
  await Deno.remove(directory, { recursive: true });
});

Deno.test("watchDirectories() finds a directory that is made later, removed and replaced", async () => {
  const root = await Deno.makeTempDir();
  const directory = `${root}/etc/cni/net.d`;
  await watching([directory, root], async (change) => {
    let seen = change();
    await Deno.mkdir(directory, { recursive: true });
    await seen;
    for (let round = 0; round < 2; round++) {
      const deadline = AbortSignal.timeout(10_000);
      // The new watch is up when a change in the directory is seen; before that, the parents' events come.
      for (let i = 0; !deadline.aborted && i < 5; i++) {
        seen = change();
        await Deno.writeTextFile(`${directory}/file`, `${round} ${i}`);
        await seen;
      }
      seen = change();
      await Deno.remove(`${root}/etc`, { recursive: true });
      await seen;
      seen = change();
      await Deno.mkdir(directory, { recursive: true });
      await seen;
    }
  });
  await Deno.remove(root, { recursive: true });
});

Deno.test("watchDirectories() ends when its signal has aborted already", async () => {
  await watchDirectories(["/"], {
    signal: AbortSignal.abort(),
    logger: silentLogger,
    onChange: () => assert.fail("no change"),
  });
});
