import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { adaptToHost } from "../../../src/config/adapt.ts";
import { buildConfig } from "../../../src/config/build.ts";
import type { Config } from "../../../src/config/schema.ts";
import { fakeHost, loadText } from "./_fixtures.ts";

async function adapted(text: string, host = fakeHost()): Promise<{ config: Config; warnings: readonly string[] }> {
  const values = await loadText(text);
  adaptToHost(values, host);
  return {
    config: buildConfig(values),
    warnings: values.warnings.map(({ keyPath, problem }) => `${keyPath} ${problem}`),
  };
}

Deno.test("adaptToHost() gives crun as the default handler and runc as the second", async () => {
  const { config } = await adapted("");
  deepStrictEqual([...config.handlers.keys()], ["crun", "runc"]);
  const crun = config.handlers.get("crun");
  deepStrictEqual(
    [crun?.runtimePath, crun?.runtimeRoot, crun?.monitorPath, crun?.monitorCgroup, crun?.containerMinMemoryBytes],
    ["/usr/bin/crun", "/run/crun", "/usr/bin/conmon", "system.slice", 500 * 1024],
  );
  strictEqual(config.handlers.get("runc")?.containerMinMemoryBytes, 12 * 1024 * 1024);
});

Deno.test("adaptToHost() takes runc where crun is missing, and says so", async () => {
  const { config, warnings } = await adapted("", fakeHost({ programs: ["runc", "conmon"] }));
  strictEqual(config.runtime.defaultRuntime, "runc");
  deepStrictEqual([...config.handlers.keys()], ["runc"]);
  strictEqual(
    warnings[0],
    "crio.runtime.default_runtime crun is not installed, runc is used instead: install crun, or set default_runtime",
  );
});

Deno.test("adaptToHost() takes cgroupfs without systemd unless told otherwise", async () => {
  const bare = await adapted("", fakeHost({ systemd: false }));
  strictEqual(bare.config.runtime.cgroupManager, "cgroupfs");
  strictEqual(bare.config.handlers.get("crun")?.monitorCgroup, "pod");
  const told = await adapted(`[crio.runtime]\ncgroup_manager = "systemd"`, fakeHost({ systemd: false }));
  strictEqual(told.config.runtime.cgroupManager, "systemd");
});

Deno.test("adaptToHost() finds CNI plugins where distributions put them", async () => {
  const host = fakeHost({ filled: ["/usr/lib/cni"] });
  deepStrictEqual((await adapted("", host)).config.network.pluginDirs, ["/opt/cni/bin/", "/usr/lib/cni"]);
  const told = await adapted(`[crio.network]\nplugin_dirs = ["/a"]\nplugin_dir = "/b"`, host);
  deepStrictEqual(told.config.network.pluginDirs, ["/a", "/b"]);
});

Deno.test("adaptToHost() drops a handler that cannot work, and fails for the default one", async () => {
  const text = `[crio.runtime.runtimes.kata]\nruntime_path = "/opt/kata"\n`;
  const { config, warnings } = await adapted(text);
  deepStrictEqual([...config.handlers.keys()], ["crun", "runc"]);
  strictEqual(
    warnings[0],
    'crio.runtime.runtimes.kata is left out: runtime_path "/opt/kata" is not an executable file',
  );
  const values = await loadText(`${text}[crio.runtime]\ndefault_runtime = "kata"`);
  throws(
    () => adaptToHost(values, fakeHost()),
    /crio\.conf: crio\.runtime\.runtimes\.kata: runtime_path "\/opt\/kata"/,
  );
  const missing = await loadText(`[crio.runtime]\ndefault_runtime = "nope"`);
  throws(
    () => adaptToHost(missing, fakeHost()),
    /default_runtime: no handler "nope" is configured \(there are: crun, runc\)/,
  );
});

Deno.test("adaptToHost() lets a handler inherit from the default one", async () => {
  const text = `[crio.runtime.runtimes.fast]\ninherit_default_runtime = true\nno_sync_log = true\n`;
  const { config } = await adapted(
    `${text}[crio.runtime.runtimes.crun]\nruntime_path = "/usr/bin/runc"\nruntime_root = "/x"`,
  );
  const fast = config.handlers.get("fast");
  deepStrictEqual([fast?.runtimePath, fast?.runtimeRoot, fast?.noSyncLog], ["/usr/bin/runc", "/x", true]);
});

Deno.test("adaptToHost() explains a monitor that is missing", async () => {
  const values = await loadText("");
  throws(() => adaptToHost(values, fakeHost({ programs: ["crun"] })), /the monitor "conmon" is not .*: install conmon/);
});
