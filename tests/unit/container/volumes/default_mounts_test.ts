import assert from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import { copyDefaultMounts, parseMountsConf } from "../../../../src/container/volumes/default_mounts.ts";
import { runsSystemd } from "../../../../src/container/volumes/systemd_mounts.ts";

Deno.test("parseMountsConf() reads pairs and single paths, and passes over the rest", () => {
  assert.deepEqual(parseMountsConf("# no\n\n /a:/b/ \n/same\nrelative:/x\n/a:relative\n"), [
    { source: "/a", destination: "/b" },
    { source: "/same", destination: "/same" },
  ]);
});

Deno.test("copyDefaultMounts() takes the first file that exists and leaves missing sources out", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/tree/sub`, { recursive: true, mode: 0o750 });
    await Deno.writeTextFile(`${directory}/tree/sub/file`, "text", { mode: 0o640 });
    await Deno.writeTextFile(`${directory}/first`, `${directory}/none:/none\n${directory}/tree:/t\n`);
    await Deno.writeTextFile(`${directory}/second`, `${directory}/tree:/never\n`);
    const files = [`${directory}/absent`, `${directory}/first`, `${directory}/second`];
    const mounts = await copyDefaultMounts(files, { directory: `${directory}/copies`, log: silentLogger });
    assert.deepEqual(mounts.map(({ destination }) => destination), ["/t"]);
    const copy = mounts[0]?.source ?? "";
    assert.equal(await Deno.readTextFile(`${copy}/sub/file`), "text");
    assert.equal((await Deno.stat(`${copy}/sub/file`)).mode, 0o100640);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("runsSystemd() goes by the program", () => {
  const programs = ["/sbin/init", "/usr/lib/systemd/systemd", "systemd", "/bin/sh", "/opt/init", ""];
  assert.deepEqual(programs.map((program) => runsSystemd([program])), [true, true, true, false, false, false]);
});
