import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import { buildConfig } from "../../../src/config/build.ts";
import { storageConfPaths } from "../../../src/config/storage_conf.ts";
import { checkDriver, parseStorageOptions, type StorageOptions } from "../../../src/config/storage_options.ts";
import { loadFiles, loadText } from "./_fixtures.ts";

function parsed(...options: string[]): StorageOptions {
  const result = parseStorageOptions(options);
  if (typeof result === "string") throw new Error(result);
  return result;
}

Deno.test("parseStorageOptions() takes every way to write a name, the last value, and all image stores", () => {
  const options = parsed(
    "overlay.mountopt=nodev",
    "overlay2.mountopt=nodev,metacopy=on",
    ".imagestore=/a/,/b",
    "overlay.additionalimagestore=/c",
    "imagestore=/a",
    "size=10G",
  );
  deepStrictEqual(options.mountOptions, ["nodev", "metacopy=on"]);
  deepStrictEqual(options.additionalStores, ["/a", "/b", "/c"]);
  strictEqual(options.sizeBytes, 10 * 1024 ** 3);
  deepStrictEqual([options.volatile, options.notes], [true, []]);
});

Deno.test("parseStorageOptions() says of each option without effect why, once it is set", () => {
  const names = ["mount_program=/usr/bin/fuse-overlayfs", "ignore_chown_errors=true", "skip_mount_home=true"];
  const { notes } = parsed(...names.map((name) => `overlay.${name}`), "overlay.use_composefs=false");
  deepStrictEqual(notes.map((note) => note.split("=", 1)[0]), [
    "mount_program",
    "ignore_chown_errors",
    "skip_mount_home",
  ]);
  match(notes[0] ?? "", /has no effect: overlays are mounted by the kernel/);
});

Deno.test("parseStorageOptions() refuses what it cannot do, with the reason", () => {
  const problem = (option: string): string => String(parseStorageOptions([option]));
  match(problem("overlay.mountop=nodev"), /no option of the overlay driver; is "overlay.mountopt" meant\?/);
  match(problem("overlay.force_mask=shared"), /force_mask needs a mount program .*: remove force_mask/);
  match(problem("overlay.imagestore=relative"), /"relative" is not an absolute path/);
  match(problem("overlay.mountopt=lowerdir=/x"), /not for an option to say/);
  match(problem("overlay.size=much"), /not a number with an optional unit/);
});

Deno.test("another storage driver is refused with the remedy, wherever it stands", async () => {
  match(checkDriver("btrfs") ?? "", /only overlay is supported. Set `driver` in storage.conf/);
  strictEqual(checkDriver("overlay2"), undefined);
  const conf = '[storage]\ndriver = "vfs"\n';
  await rejects(loadFiles({ "storage.conf": conf }), /storage.conf: storage_driver: "vfs" is a storage driver that/);
  await rejects(
    loadText('[crio]\nstorage_driver = "zfs"\n'),
    /crio.conf: crio.storage_driver: "zfs" is a storage driver/,
  );
  await rejects(loadText("", { env: { STORAGE_DRIVER: "vfs" } }), /variable STORAGE_DRIVER/);
});

Deno.test("storage.conf gives roots and all options of overlay, the inner table before the outer one", async () => {
  const storage = `[storage]
driver = "overlay"
graphroot = "/g"
runroot = "/r"
imagestore = "/i"
transient_store = true
[storage.options]
additionalimagestores = ["/a", "/b"]
mountopt = "outer"
size = "1G"
disable-volatile = true
pull_options = { enable_partial_images = "true", use_hard_links = "false" }
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
skip_mount_home = "true"
`;
  const { crio } = buildConfig(await loadFiles({ "storage.conf": storage }));
  deepStrictEqual([crio.root, crio.runRoot, crio.imageStore], ["/g", "/r", "/i"]);
  const options = parsed(...crio.storageOptions);
  deepStrictEqual(options.additionalStores, ["/a", "/b"]);
  deepStrictEqual(options.mountOptions, ["nodev", "metacopy=on"]);
  deepStrictEqual([options.volatile, options.sizeBytes], [false, 1024 ** 3]);
  deepStrictEqual(options.notes.map((note) => note.split("=", 1)[0]), [
    "skip_mount_home",
    "pull_options",
    "transient_store",
  ]);
});

Deno.test("crio.conf overrides storage.conf key by key, and STORAGE_OPTS its options as a whole", async () => {
  const files = {
    "storage.conf": '[storage]\ndriver = "overlay"\ngraphroot = "/g"\nimagestore = "/i"\n' +
      '[storage.options.overlay]\nmountopt = "nodev"\n',
    "crio.conf": '[crio]\nroot = "/mine"\nimagestore = ""\nstorage_option = ["overlay.mountopt=nosuid"]\n',
  };
  const { crio } = buildConfig(await loadFiles(files));
  deepStrictEqual([crio.root, crio.imageStore, crio.storageOptions], ["/mine", "", ["overlay.mountopt=nosuid"]]);
  const env = { STORAGE_OPTS: "overlay.imagestore=/a,overlay.mountopt=noexec" };
  const other = buildConfig(await loadFiles({ "storage.conf": files["storage.conf"] }, { env })).crio;
  deepStrictEqual(other.storageOptions, ["overlay.imagestore=/a", "overlay.mountopt=noexec"]);
  strictEqual(other.root, "/g");
});

Deno.test("storage.conf is looked for where root's tools look", () => {
  deepStrictEqual(storageConfPaths({ CONTAINERS_STORAGE_CONF: "/x", XDG_CONFIG_HOME: "/y" }), ["/x"]);
  const system = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];
  deepStrictEqual(storageConfPaths({ XDG_CONFIG_HOME: "/y" }), ["/y/containers/storage.conf", ...system]);
  deepStrictEqual(storageConfPaths({}), system);
});
