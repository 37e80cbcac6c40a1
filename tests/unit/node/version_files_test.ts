import { equal } from "node:assert/strict";
import { readVersionFile, writeVersionFile } from "../../../src/node/version_files.ts";

Deno.test("readVersionFile() tells a reboot, an upgrade and neither", async () => {
  const directory = await Deno.makeTempDir({ prefix: "crio-version-" });
  const path = `${directory}/deep/version`;
  const kind = async (): Promise<string> => (await readVersionFile(path, "1.37.0")).kind;
  equal((await readVersionFile("")).kind, "same");
  equal(await kind(), "missing");
  await writeVersionFile(path);
  equal((await readVersionFile(path)).kind, "same");
  const cases = [["1.37.5", "same"], ['"1.37.0-rc.1"\n', "same"], ['"v1.37"', "same"], ['"1.36.9"', "other"]];
  for (const [text = "", expected = ""] of [...cases, ['"2.37.0"', "other"], ["", "other"], ["13.7.0", "other"]]) {
    await Deno.writeTextFile(path, text);
    equal(await kind(), expected, text);
  }
  await Deno.remove(path);
  await Deno.mkdir(path);
  equal(await kind(), "other", "what cannot be read is no sign that nothing has changed");
  await Deno.remove(directory, { recursive: true });
});
