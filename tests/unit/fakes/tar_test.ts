import assert from "node:assert/strict";
import { buildTar } from "../../fakes/tar.ts";

Deno.test("buildTar() writes what tar(1) lists", async () => {
  const longName = `deep/${"n".repeat(150)}`;
  const tar = buildTar([
    { name: "deep/", type: "5", mode: 0o1777 },
    { name: longName, body: "hello", mode: 0o4755, uid: 1000, gid: 7 },
    { name: "link", type: "2", linkName: longName },
    { name: "hard", type: "1", linkName: longName },
    { name: "null", type: "3", major: 1, minor: 3 },
  ]);
  const child = new Deno.Command("tar", {
    args: ["-tv", "--numeric-owner"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(tar);
  await writer.close();
  const { stdout, stderr } = await child.output();
  assert.equal(new TextDecoder().decode(stderr), "");
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assert.equal(lines.length, 5);
  assert.match(lines[0] ?? "", /^drwxrwxrwt 0\/0 /);
  assert.match(lines[1] ?? "", new RegExp(`^-rwsr-xr-x 1000/7 +5 .* ${longName}$`));
  assert.match(lines[2] ?? "", new RegExp(`link -> ${longName}$`));
  assert.match(lines[3] ?? "", new RegExp(`hard link to ${longName}$`));
  assert.match(lines[4] ?? "", /^crw-r--r-- 0\/0 +1,3 /);
});
