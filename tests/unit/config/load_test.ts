import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { ConfigError } from "../../../src/config/toml.ts";
import { buildConfig } from "../../../src/config/build.ts";
import { loadValues } from "../../../src/config/load.ts";
import { loadFiles, loadText } from "./_fixtures.ts";

Deno.test("loadValues() lets drop-ins win over the file, the environment over them, flags over all", async () => {
  const files = {
    "crio.conf": `[crio.runtime]\nlog_level = "debug"\nread_only = true\npids_limit = 1\nlog_filter = "a"`,
    "crio.conf.d/10-a": `[crio.runtime]\nread_only = false\nlog_filter = "b"`,
    "crio.conf.d/20/nested.conf": `[crio.runtime]\npids_limit = 2\nlog_filter = "c"`,
    "crio.conf.d/30-z.txt": `[crio.runtime]\npids_limit = 3`,
  };
  const values = await loadFiles(files, {
    env: { CONTAINER_LOG_FILTER: "d", CONTAINER_LOG_LEVEL: "error" },
    flags: new Map([["l", ["trace"]]]),
  });
  const { runtime } = buildConfig(values);
  deepStrictEqual([runtime.logLevel, runtime.readOnly, runtime.pidsLimit, runtime.logFilter], ["trace", false, 3, "d"]);
});

Deno.test("loadValues() needs a file that was named and does not miss the default one", async () => {
  await rejects(loadValues({ configPath: "/nonexistent/crio.conf", configDir: "" }), (error) => {
    ok(error instanceof ConfigError);
    match(String(error), /\/nonexistent\/crio\.conf: no such configuration file/);
    return true;
  });
  const values = await loadValues({ configPath: "", configDir: "", storageConfPaths: [] });
  strictEqual(values.fixed.size, 0);
});

Deno.test("loadValues() names file, line and column of a syntax error", async () => {
  await rejects(loadText("[crio.runtime]\nlog_level = = 3\n"), /crio\.conf: line 2, column 13: /);
});

Deno.test("loadValues() names file and key path of a wrong value", async () => {
  const wrong: ReadonlyArray<readonly [string, RegExp]> = [
    [`[crio.runtime]\nlog_level = 3`, /crio\.conf: crio\.runtime\.log_level: is an integer, must be a string/],
    [`[crio.runtime]\nlog_level = "loud"`, /crio\.runtime\.log_level: "loud" is not one of panic, fatal, error/],
    [`[crio]\nroot = "relative"`, /crio\.root: "relative" is not an absolute path/],
    [`[crio.metrics]\nmetrics_port = 70000`, /crio\.metrics\.metrics_port: 70000 is not between 0 and 65535/],
    [`[crio.runtime]\ndefault_sysctls = ["a = b"]`, /default_sysctls: "a = b" is not key=value without blanks/],
    [`[crio.runtime]\ndefault_ulimits = ["nofile=9:1"]`, /default_ulimits: "nofile=9:1" has a soft limit above/],
    [`[crio.runtime]\nlog_size_max = 100`, /log_size_max: 100 is neither negative nor at least 8192/],
    [`[crio.image]\npull_progress_timeout = "5"`, /pull_progress_timeout: "5" is not a duration/],
    [`[crio.runtime]\nlog_filter = "("`, /log_filter: "\(" is not a regular expression/],
    [`[crio.runtime.runtimes.x]\nruntime_path = 1`, /runtimes\.x\.runtime_path: is an integer, must be a string/],
    [`crio = 1`, /crio: must be a table/],
    [`[crio]\nruntime = 1`, /crio\.runtime: must be a table/],
  ];
  for (const [text, expected] of wrong) {
    await rejects(loadText(text), expected, text);
  }
});

Deno.test("loadValues() names the flag or variable of a wrong value", async () => {
  await rejects(
    loadText("", { flags: new Map([["metrics-port", ["x"]]]) }),
    /flag --metrics-port: "x" is not an integer/,
  );
  await rejects(
    loadText("", { env: { CONTAINER_SELINUX: "maybe" } }),
    /variable CONTAINER_SELINUX: "maybe" is not true/,
  );
});

Deno.test("loadValues() warns of unknown keys with the nearest known name", async () => {
  const values = await loadText(`[crio.runtime]\nlog_lvel = "info"\nlisten = "/x"\n[crio.rutime]\n[other]\n`);
  deepStrictEqual(values.warnings.map(({ keyPath, problem }) => `${keyPath} ${problem}`), [
    "other is not known",
    'crio.runtime.log_lvel is not known; is "log_level" meant?',
    'crio.runtime.listen is not known; is "crio.api.listen" meant?',
    'crio.rutime is not known; is "runtime" meant?',
  ]);
});

Deno.test("loadValues() splits list flags at commas and takes repeated ones", async () => {
  const flags = new Map([["default-env", ["A=1,B=2", "C=3"]], ["read-only", [""]], ["tz", ["Local"]]]);
  const { runtime } = buildConfig(await loadText("", { flags }));
  deepStrictEqual(runtime.defaultEnv, ["A=1", "B=2", "C=3"]);
  deepStrictEqual([runtime.readOnly, runtime.timezone], [true, "Local"]);
});

Deno.test("loadValues() reads --runtimes and replaces a handler as a whole", async () => {
  const text = `[crio.runtime.runtimes.a]\nruntime_path = "/bin/a"\nruntime_root = "/run/a"\n`;
  const flags = new Map([["runtimes", ["a:/bin/b:/run/b:oci:true::16 MiB,c:/bin/c"]]]);
  const { handlers } = buildConfig(await loadText(text, { flags }));
  const handler = handlers.get("a");
  deepStrictEqual([...handlers.keys()], ["a", "c"]);
  deepStrictEqual(
    [
      handler?.runtimePath,
      handler?.runtimeRoot,
      handler?.privilegedWithoutHostDevices,
      handler?.containerMinMemoryBytes,
    ],
    ["/bin/b", "/run/b", true, 16 * 1024 * 1024],
  );
  await rejects(
    loadText("", { flags: new Map([["runtimes", ["justaname"]]]) }),
    /flag --runtimes: "justaname" is not name:path/,
  );
});

Deno.test("loadValues() takes roots and options from storage.conf, and crio.conf over it", async () => {
  const storage = `[storage]\ndriver = "overlay"\ngraphroot = "/g"\nrunroot = "/r"\n[storage.options]\n` +
    `additionalimagestores = ["/ro"]\n[storage.options.overlay]\nmountopt = "nodev"\n`;
  const values = await loadFiles({
    "storage.conf": storage,
    "crio.conf": `[crio]\nroot = "/mine"\nstorage_option = ["overlay.mountopt=nodev,metacopy=on"]`,
  });
  const { crio } = buildConfig(values);
  deepStrictEqual([crio.root, crio.runRoot], ["/mine", "/r"]);
  deepStrictEqual(crio.storageOptions, ["overlay.imagestore=/ro", "overlay.mountopt=nodev,metacopy=on"]);
});

Deno.test("buildConfig() raises values to their floors and converts units", async () => {
  const text = `[crio.runtime]\nctr_stop_timeout = 5\n[crio.api]\ngrpc_max_send_msg_size = -1\n[crio.image]\n` +
    `pull_progress_timeout = "1m30s"\n[crio.runtime.runtimes.a]\ncontainer_create_timeout = 1\n`;
  const config = buildConfig(await loadText(text));
  strictEqual(config.runtime.ctrStopTimeoutSeconds, 30);
  strictEqual(config.api.grpcMaxSendMsgSizeBytes, 83_886_080);
  strictEqual(config.image.pullProgressTimeoutMs, 90_000);
  strictEqual(config.handlers.get("a")?.containerCreateTimeoutSeconds, 30);
});
