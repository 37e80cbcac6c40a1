import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import { groupWith, passwdWith, withAccountFiles } from "../../../src/container/account_files.ts";
import { withPodMarks } from "../../../src/container/pod_marks.ts";
import type { OciMount, OciSpec } from "../../../src/oci/spec/types.ts";

const PASSWD = "root:x:0:0:root:/root:/bin/sh";
const GROUP = "root:x:0:\n";
const STRANGER = { uid: 7, gid: 8, supplementalGroups: [8], home: "/", known: false };

function spec(changes: { env?: string[]; cwd?: string; mounts?: OciMount[]; readonly?: boolean } = {}): OciSpec {
  const { env = [], cwd = "/work", mounts = [], readonly = false } = changes;
  return {
    ociVersion: "1.0.2",
    process: { terminal: false, user: { uid: 7, gid: 8 }, args: ["/a"], env, cwd },
    root: { path: "/root", readonly },
    mounts,
    annotations: {},
    linux: { namespaces: [] },
  };
}

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const bind = (destination: string): OciMount => ({ destination, type: "bind", source: "/s", options: [] });

Deno.test("passwdWith() and groupWith() add a line where one is missing, and leave images without files alone", () => {
  assert.equal(passwdWith(PASSWD, { ...STRANGER, home: "/h" }), `${PASSWD}\n7:x:7:8:7 user:/h:/sbin/nologin\n`);
  assert.equal(passwdWith(PASSWD, { ...STRANGER, known: true }), undefined);
  assert.equal(passwdWith("", STRANGER), undefined);
  assert.equal(groupWith(GROUP, 8), "root:x:0:\n8:x:8:\n");
  assert.equal(groupWith(GROUP, 0), undefined);
  assert.equal(groupWith("", 8), undefined);
});

Deno.test("withAccountFiles() mounts files with the container's user, at home in its working directory", async () => {
  await withDirectory(async (directory) => {
    const files = { passwd: PASSWD, group: GROUP };
    const made = await withAccountFiles(spec({ readonly: true }), { files, user: STRANGER, directory });
    assert.deepEqual(made.process.env, ["HOME=/work"]);
    assert.deepEqual(made.mounts.map(({ destination, source }) => [destination, source]).sort(), [
      ["/etc/group", `${directory}/group`],
      ["/etc/passwd", `${directory}/passwd`],
    ]);
    assert.ok(made.mounts.every(({ options }) => options.includes("ro")));
    assert.match(await Deno.readTextFile(`${directory}/passwd`), /^7:x:7:8:7 user:\/work:\/sbin\/nologin$/m);
  });
});

Deno.test("withAccountFiles() keeps a home that is given, and a volume over /etc or one of the files", async () => {
  await withDirectory(async (directory) => {
    const options = { files: { passwd: PASSWD, group: GROUP }, user: STRANGER, directory };
    const homely = await withAccountFiles(spec({ env: ["HOME=/h"] }), options);
    assert.deepEqual(homely.process.env, ["HOME=/h"]);
    assert.match(await Deno.readTextFile(`${directory}/passwd`), /:\/h:/);
    assert.deepEqual((await withAccountFiles(spec({ mounts: [bind("/etc")] }), options)).mounts, [bind("/etc")]);
    const covered = await withAccountFiles(spec({ mounts: [bind("/etc/passwd")] }), options);
    assert.deepEqual(covered.mounts.map(({ destination }) => destination), ["/etc/passwd", "/etc/group"]);
    const known = { ...STRANGER, known: true, home: "/var/www" };
    assert.deepEqual((await withAccountFiles(spec(), { ...options, user: known })).process.env, ["HOME=/var/www"]);
  });
});

Deno.test("withAccountFiles() lets neither a home nor a working directory add a user", async () => {
  await withDirectory(async (directory) => {
    const options = { files: { passwd: PASSWD, group: GROUP }, user: STRANGER, directory };
    const evil = "/x:/bin/sh\nevil:x:0:0::/:/bin/sh";
    await assert.rejects(withAccountFiles(spec({ env: [`HOME=${evil}`] }), options), InvalidArgumentError);
    await withAccountFiles(spec({ cwd: evil }), options);
    assert.ok(!(await Deno.readTextFile(`${directory}/passwd`)).includes("evil"));
    await withAccountFiles(spec({ env: ["HOME=/a:b"] }), options);
    assert.match(await Deno.readTextFile(`${directory}/passwd`), /^7:x:7:8:7 user:\/:\/sbin\/nologin$/m);
  });
});

Deno.test("withPodMarks() mounts the mark of a container, the time zone and the FIPS setting", async () => {
  await withDirectory(async (directory) => {
    const plain = await withPodMarks(spec(), { directory, timezone: "", hidesFips: false });
    assert.deepEqual(plain.mounts.map(({ destination }) => destination), ["/run/.containerenv"]);
    const covered = spec({ mounts: [bind("/run"), bind("/etc/localtime")] });
    const left = await withPodMarks(covered, { directory, timezone: "Local", hidesFips: false });
    assert.deepEqual(left.mounts, covered.mounts);
    for (const timezone of ["No/Such", "../../../etc/passwd"]) {
      await assert.rejects(
        withPodMarks(spec(), { directory, timezone, hidesFips: false }),
        /timezone ".*" of crio\.conf: .* cannot be read/,
      );
    }
  });
});
