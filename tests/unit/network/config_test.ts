import assert from "node:assert/strict";
import fc from "fast-check";
import { loadNetworks, parseNetworkConfig } from "../../../src/network/config.ts";
import { CniConfigError } from "../../../src/network/errors.ts";
import { versionAtLeast } from "../../../src/network/versions.ts";

const parse = (value: unknown): ReturnType<typeof parseNetworkConfig> =>
  parseNetworkConfig(typeof value === "string" ? value : JSON.stringify(value), "/etc/cni/net.d/x");

Deno.test("parseNetworkConfig() reads a list and keeps unknown keys", () => {
  const network = parse({
    cniVersion: "0.4.0",
    name: "pods",
    disableCheck: "true",
    plugins: [{ type: "bridge", mtu: 9000 }, { type: "portmap", capabilities: { portMappings: true, other: false } }],
  });
  assert.equal(network.cniVersion, "0.4.0");
  assert.ok(network.disableCheck);
  assert.deepEqual(network.plugins.map(({ type, capabilities }) => [type, capabilities]), [
    ["bridge", []],
    ["portmap", ["portMappings"]],
  ]);
  assert.equal(network.plugins[0]?.raw["mtu"], 9000);
});

Deno.test("parseNetworkConfig() makes a single plugin a list of one, of the oldest version where none is named", () => {
  const network = parse({ name: "a", type: "ptp" });
  assert.deepEqual([network.cniVersion, network.plugins.length, network.plugins[0]?.type], ["0.1.0", 1, "ptp"]);
});

Deno.test("parseNetworkConfig() takes the newest of cniVersions that it knows", () => {
  const plugins = [{ type: "a" }];
  assert.equal(parse({ name: "a", cniVersions: ["0.4.0", "1.1.0", "9.0.0", "1.0.0"], plugins }).cniVersion, "1.1.0");
  assert.equal(parse({ name: "a", cniVersion: "0.3.1", cniVersions: ["9.0.0"], plugins }).cniVersion, "0.3.1");
});

Deno.test("parseNetworkConfig() names the file and the key of what is wrong", () => {
  const plugin = { type: "bridge" };
  const cases: ReadonlyArray<readonly [value: unknown, key: string, problem: RegExp]> = [
    ["", "", /empty/],
    ["{", "", /not JSON/],
    ["[]", "", /must be a JSON object/],
    ["null", "", /must be a JSON object/],
    [{ plugins: [plugin] }, "name", /missing/],
    [{ name: 7, plugins: [plugin] }, "name", /missing/],
    [{ name: "../x", plugins: [plugin] }, "name", /letters/],
    [{ name: "a" }, "type", /missing/],
    [{ name: "a", plugins: {} }, "plugins", /must be a list/],
    [{ name: "a", plugins: [] }, "plugins", /is empty/],
    [{ name: "a", plugins: Array(65).fill(plugin) }, "plugins", /at most 64/],
    [{ name: "a", plugins: [plugin, 3] }, "plugins[1]", /must be an object/],
    [{ name: "a", plugins: [plugin, {}] }, "plugins[1].type", /missing/],
    [{ name: "a", plugins: [{ type: "../../bin/sh" }] }, "plugins[0].type", /not a path/],
    [{ name: "a", type: ".." }, "type", /not a path/],
    [{ name: "a", plugins: [{ type: "a", capabilities: [] }] }, "plugins[0].capabilities", /object of booleans/],
    [{ name: "a", cniVersion: "2.0.0", plugins: [plugin] }, "cniVersion", /not supported; use one of 0.3.0/],
    [{ name: "a", cniVersion: 1, plugins: [plugin] }, "cniVersion", /must be a string/],
    [{ name: "a", cniVersions: ["9.9.9"], plugins: [plugin] }, "cniVersions", /no version/],
    [{ name: "a", disableGC: 1, plugins: [plugin] }, "disableGC", /true or false/],
  ];
  for (const [value, key, problem] of cases) {
    assert.throws(() => parse(value), (error: unknown) => {
      assert.ok(error instanceof CniConfigError, String(error));
      assert.equal(error.key, key, error.message);
      assert.match(error.message, problem);
      assert.match(error.message, /\/etc\/cni\/net\.d\/x/);
      return true;
    });
  }
});

Deno.test("parseNetworkConfig() throws nothing but CniConfigError, whatever the text", () => {
  const key = fc.constantFrom("name", "plugins", "type", "cniVersion", "cniVersions", "disableGC", "capabilities");
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ maxDepth: 3 }, fc.jsonValue(), fc.array(tie("any")), fc.dictionary(key, tie("any"))),
  })).any;
  fc.assert(fc.property(fc.oneof(fc.string(), value.map((one) => JSON.stringify(one) ?? "")), (text) => {
    try {
      parseNetworkConfig(text, "f");
    } catch (error) {
      assert.ok(error instanceof CniConfigError, String(error));
    }
  }));
});

Deno.test("loadNetworks() sorts by file name, skips other files and reports bad ones", async () => {
  const directory = await Deno.makeTempDir();
  const write = (name: string, value: unknown): Promise<void> =>
    Deno.writeTextFile(`${directory}/${name}`, typeof value === "string" ? value : JSON.stringify(value));
  try {
    await write("20-b.conf", { name: "b", type: "x" });
    await write("10-a.conflist", { name: "a", plugins: [{ type: "x" }] });
    await write("15-c.json", { name: "c", type: "x" });
    await write("05-broken.conf", "{");
    await write("30-same.conf", { name: "a", type: "y" });
    await write("00-ignored.conflist.disabled", "{");
    await Deno.mkdir(`${directory}/01-dir.conf`);
    const { networks, problems } = await loadNetworks(`${directory}/`);
    assert.deepEqual(networks.map(({ name }) => name), ["a", "c", "b"]);
    assert.deepEqual(problems.map(({ file, key }) => [file.slice(directory.length + 1), key]), [
      ["05-broken.conf", ""],
      ["30-same.conf", "name"],
    ]);
    assert.deepEqual(await loadNetworks(`${directory}/none`), { networks: [], problems: [] });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("versionAtLeast() compares by number", () => {
  assert.deepEqual([
    versionAtLeast("1.1.0", "1.0.0"),
    versionAtLeast("0.4.0", "0.4.0"),
    versionAtLeast("0.3.1", "0.4.0"),
  ], [
    true,
    true,
    false,
  ]);
  assert.ok(versionAtLeast("0.10.0", "0.9.0"));
});
