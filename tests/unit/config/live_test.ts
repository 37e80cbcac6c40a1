import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { type Logger, silentLogger } from "../../../src/base/logger.ts";
import { LiveConfig } from "../../../src/config/live.ts";
import { loadValues } from "../../../src/config/load.ts";
import type { ConfigValues } from "../../../src/config/values.ts";

/** A configuration in one file, whose text can be changed, below flags and an environment that stay. */
class Scene implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly told: string[] = [];
  live!: LiveConfig;

  private constructor(readonly directory: string) {}

  static async open(text: string): Promise<Scene> {
    const scene = new Scene(await Deno.makeTempDir());
    await scene.write(text);
    const load = (): Promise<ConfigValues> =>
      loadValues({
        configPath: scene.path,
        configDir: "",
        storageConfPaths: [],
        flags: new Map([["timezone", ["Local"]]]),
        env: { CONTAINER_PIDS_LIMIT: "7" },
      });
    const note = (message: string): void => void scene.lines.push(message);
    const log: Logger = { ...silentLogger, info: note, warn: note, error: note };
    scene.live = new LiveConfig({ values: await load(), load, adapt: () => {} }, {
      log: () => log,
      observer: () => ({
        begun: (): void => void scene.told.push("begun"),
        ended: (failure): void => void scene.told.push(failure ?? "ended"),
      }),
    });
    scene.live.open();
    return scene;
  }

  get path(): string {
    return `${this.directory}/crio.conf`;
  }

  async write(text: string): Promise<void> {
    await Deno.writeTextFile(this.path, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("LiveConfig changes live options in the one object, and lists what needs a restart", async () => {
  await using scene = await Scene.open('[crio.runtime]\nlog_level = "info"\n');
  const { live } = scene;
  const { runtime, handlers } = live.config;
  await scene.write(
    `[crio.runtime]\nlog_level = "debug"\nno_pivot = true\ndefault_env = ["TOKEN=secret"]
[crio.runtime.runtimes.kata]\nruntime_path = "/bin/kata"\n`,
  );
  const { applied, pending } = await live.reload();
  strictEqual(runtime.logLevel, "debug");
  ok(!runtime.noPivot);
  strictEqual(handlers.get("kata")?.runtimePath, "/bin/kata");
  const source = scene.path;
  deepStrictEqual(applied, [
    { path: "crio.runtime.default_env", before: "[]", after: '["TOKEN=…"]', source },
    { path: "crio.runtime.log_level", before: "info", after: "debug", source },
    { path: "crio.runtime.runtimes.kata.runtime_path", before: "", after: "/bin/kata", source },
  ]);
  deepStrictEqual(pending, [{ path: "crio.runtime.no_pivot", before: "false", after: "true", source }]);
  ok(!live.toml().includes("no_pivot = true") && live.toml().includes('log_level = "debug"'));
  deepStrictEqual(scene.lines, [
    'Set config crio.runtime.default_env to "[\\"TOKEN=…\\"]"',
    'Set config crio.runtime.log_level to "debug"',
    'Set config crio.runtime.runtimes.kata.runtime_path to "/bin/kata"',
    'crio.runtime.no_pivot needs a restart to become "true"',
    "Configuration reload completed",
  ]);
  const again = await live.reload();
  deepStrictEqual([again.applied, again.pending], [[], pending]);
});

Deno.test("LiveConfig takes defaults back when a line is gone, and keeps flags and environment above the files", async () => {
  await using scene = await Scene.open('[crio.runtime]\nlog_filter = "x"\n[crio.runtime.runtimes.a]\n');
  const { runtime, handlers } = scene.live.config;
  deepStrictEqual([runtime.timezone, runtime.pidsLimit], ["Local", 7]);
  await scene.write('[crio.runtime]\ntimezone = "UTC"\npids_limit = 9\n');
  const { applied } = await scene.live.reload();
  deepStrictEqual([runtime.timezone, runtime.pidsLimit, runtime.logFilter, handlers.size], ["Local", 7, "", 0]);
  deepStrictEqual(applied.map(({ path, after }) => [path, after]), [["crio.runtime.log_filter", ""]]);
});

for (
  const [name, text, reason] of [
    ["is no TOML", "[crio.runtime\n", /crio\.conf: line 1/],
    ["has a wrong value", '[crio.runtime]\nlog_level = "loud"\n', /crio\.conf: crio\.runtime\.log_level: .*not one of/],
    ["has a wrong type", "[crio.image]\npinned_images = 3\n", /crio\.conf: crio\.image\.pinned_images/],
  ] as const
) {
  Deno.test(`LiveConfig changes nothing when a file ${name}`, async () => {
    await using scene = await Scene.open('[crio.runtime]\nlog_level = "info"\n');
    const before = scene.live.toml();
    await scene.write(`${text}\n[crio.runtime.runtimes.x]\n`);
    await rejects(scene.live.reload(), reason);
    strictEqual(scene.live.toml(), before);
    match(scene.lines.join("\n"), /^Unable to reload configuration: /);
    match(scene.told.join("\n"), reason);
    await scene.write('[crio.runtime]\nlog_level = "debug"\n');
    await scene.live.reload();
    strictEqual(scene.live.config.runtime.logLevel, "debug");
  });
}

Deno.test("LiveConfig changes nothing when a part refuses, whatever the others say", async () => {
  await using scene = await Scene.open("");
  const { live } = scene;
  const done: string[] = [];
  live.join(() => Promise.resolve(() => void done.push("first")));
  live.join((next) => next.runtime.logLevel === "debug" ? Promise.reject(new Error("no")) : Promise.resolve(undefined));
  await scene.write('[crio.runtime]\nlog_level = "debug"\n');
  await rejects(live.reload(), /^Error: no$/);
  deepStrictEqual([done, live.config.runtime.logLevel], [[], "info"]);
  await scene.write('[crio.runtime]\nlog_level = "warn"\n');
  await live.reload();
  deepStrictEqual([done, live.config.runtime.logLevel], [["first"], "warn"]);
  deepStrictEqual(scene.told, ["begun", "no", "begun", "ended"]);
});

Deno.test("LiveConfig runs one reload at a time; those who ask meanwhile share the next one, which sees the newest file", async () => {
  await using scene = await Scene.open("");
  const { live } = scene;
  let [running, most] = [0, 0];
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  live.join(async () => {
    most = Math.max(most, ++running);
    entered.resolve();
    await gate.promise;
    running--;
    return undefined;
  });
  const first = live.reload();
  await entered.promise;
  await scene.write('[crio.runtime]\nlog_level = "debug"\n');
  const others = Array.from({ length: 20 }, () => live.reload());
  gate.resolve();
  await first;
  strictEqual(live.config.runtime.logLevel, "info");
  await Promise.all(others);
  strictEqual(live.config.runtime.logLevel, "debug");
  deepStrictEqual([most, scene.told], [1, ["begun", "ended", "begun", "ended"]]);
});
