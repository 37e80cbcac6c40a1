import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { matchingPaths } from "../../../src/performance/glob.ts";
import { BlockIoClasses } from "../../../src/performance/block_io.ts";
import { classOf } from "../../../src/performance/class_annotations.ts";
import { RdtClasses } from "../../../src/performance/rdt_classes.ts";

const OPTIONS = { rescan: false, log: silentLogger } as const;

async function withFile(text: string, body: (path: string, root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${root}/classes.yaml`, text);
    await body(`${root}/classes.yaml`, root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("BlockIoClasses reads weights and refuses classes that are not there", async () => {
  const text =
    "Classes:\n  low:\n  - Weight: 80\n  - Devices: [/dev/none-such*]\n    ThrottleReadBps: 50M\n  empty: []\n";
  await withFile(text, async (path) => {
    const classes = await BlockIoClasses.read(path, OPTIONS);
    deepStrictEqual(await classes.resolve("low"), { weight: 80 });
    deepStrictEqual(await classes.resolve("empty"), {});
    await rejects(classes.resolve("high"), /"high" is not in .*classes\.yaml \(there are: low, empty\)/);
  });
});

const WRONG: ReadonlyArray<readonly [RegExp, string]> = [
  [/Classes\.a is not a list/, "Classes: {a: 1}"],
  [/Classes\.a\[0\]\.Weight 5 is not a quantity between 10 and 1000/, "Classes: {a: [{Weight: 5}]}"],
  [/throttlereadbps "fast" is not a quantity/, "Classes: {a: [{Devices: [/dev/x], ThrottleReadBps: fast}]}"],
  [/has rates but no Devices/, "Classes: {a: [{ThrottleReadBps: 1}]}"],
  [/Devices is not a list of paths/, "Classes: {a: [{Devices: /dev/x}]}"],
  [/speed is not known/, "Classes: {a: [{Speed: 1}]}"],
  [/classes\.yaml: .*/, "a: ["],
];

for (const [message, text] of WRONG) {
  Deno.test(`BlockIoClasses.read() refuses ${text}`, async () => {
    await withFile(text, async (path) => {
      await rejects(BlockIoClasses.read(path, OPTIONS), message);
    });
  });
}

Deno.test("matchingPaths() knows the shell's patterns, one name at a time", async () => {
  await withFile("", async (_path, root) => {
    for (const name of ["sda", "sdb", "sda1", "s+a", "vda"]) await Deno.writeTextFile(`${root}/${name}`, "");
    const names = async (pattern: string): Promise<string[]> =>
      (await matchingPaths(`${root}/${pattern}`)).map((path) => path.slice(root.length + 1));
    deepStrictEqual(await names("sd[a-z]"), ["sda", "sdb"]);
    deepStrictEqual(await names("sd?"), ["sda", "sdb"]);
    deepStrictEqual(await names("s+*"), ["s+a"]);
    deepStrictEqual(await names("[!s]da"), ["vda"]);
    deepStrictEqual(await names("sda/*"), []);
    deepStrictEqual(await names("vda"), ["vda"]);
    deepStrictEqual(await matchingPaths("relative*"), []);
    deepStrictEqual(await matchingPaths(`${root.slice(0, -1)}?/vda`), [`${root}/vda`]);
  });
});

Deno.test("classOf() takes the container's annotation, then the pod's for it, then the pod's", () => {
  const pod = "blockio.resources.beta.kubernetes.io/pod";
  const annotations: Record<string, string> = { [pod]: "c" };
  const of = (): string | undefined => classOf("blockio", { container: "main", annotations });
  strictEqual(of(), "c");
  annotations["blockio.resources.beta.kubernetes.io/container.main"] = "b";
  strictEqual(of(), "b");
  annotations["io.kubernetes.cri.blockio-class"] = "a";
  strictEqual(of(), "a");
  strictEqual(classOf("rdt", { container: "main", annotations }), undefined);
});

Deno.test("RdtClasses gives groups that the file names and the kernel has", async () => {
  const text = "partitions:\n  p:\n    l3Allocation: 60%\n    classes:\n      gold: {}\n      silver: {}\n";
  await withFile(text, async (path, root) => {
    await Deno.mkdir(`${root}/resctrl/gold`, { recursive: true });
    await Deno.writeTextFile(`${root}/resctrl/gold/schemata`, "");
    const classes = await RdtClasses.read(path, { resctrl: `${root}/resctrl` });
    strictEqual(await classes.closId("gold"), "gold");
    await rejects(classes.closId("silver"), /no resctrl group .*silver/);
    await rejects(classes.closId("bronze"), /"bronze": not in .* gold, silver/);
    await rejects((await RdtClasses.read("")).closId("gold"), /rdt_config_file is not configured/);
    await Deno.writeTextFile(path, "partitions: {p: {classes: {../x: {}}}}");
    await rejects(RdtClasses.read(path), /"\.\.\/x" is not the name of a group/);
  });
});
