import assert from "node:assert/strict";
import { Churn } from "./harness/churn.ts";
import { crioCommand } from "./harness/crio.ts";
import { removeAllPods } from "./harness/pods.ts";
import { until } from "./harness/tries.ts";
import { HANDLER_ROWS } from "./reload/handler_rows.ts";
import { type Row, ROWS } from "./reload/rows.ts";
import { ReloadScene } from "./reload/scene.ts";

function check(seen: unknown, expected: unknown, when: string): void {
  const text = typeof seen === "string" ? seen : JSON.stringify(seen);
  if (expected instanceof RegExp) assert.match(text, expected, when);
  else assert.deepEqual(seen, expected, when);
}

/** What `observe` gives; the reason when it fails. */
async function seen({ observe }: Row, scene: ReloadScene): Promise<unknown> {
  try {
    return await observe(scene);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

Deno.test("each option that is reloaded counts from the next pod or container on, and again when it is taken back", async (t) => {
  await using scene = await ReloadScene.start();
  for (const row of [...ROWS, ...HANDLER_ROWS]) {
    await t.step(row.options, async () => {
      await row.prepare?.(scene.directory);
      check(await seen(row, scene), row.before, "before");
      assert.equal(await scene.reload(row.toml(scene.directory, scene)), "Configuration reloaded");
      check(await seen(row, scene), row.after, "after SIGHUP");
      assert.equal(await scene.reload(""), "Configuration reloaded");
      check(await seen(row, scene), row.before, "taken back");
    });
  }

  await t.step("blockio_config_file blockio_reload", async () => {
    const classes = { Classes: { slow: [{ Devices: [`${scene.directory}/disk-*`], ThrottleReadBps: "1M" }] } };
    await Deno.writeTextFile(`${scene.directory}/slow.json`, JSON.stringify(classes));
    const node = (name: string, minor: string) =>
      new Deno.Command("mknod", { args: [`${scene.directory}/${name}`, "b", "7", minor] }).output();
    await node("disk-0", "0");
    const wish = ({ annotations }: { annotations: Map<string, string> }): void =>
      void annotations.set("blockio.resources.beta.kubernetes.io/pod", "slow");
    const devices = async (): Promise<number> =>
      (await scene.spec({ pod: wish })).linux.resources.blockIO?.throttleReadBpsDevice?.length ?? 0;
    const text = `[crio.runtime]\nblockio_config_file = "${scene.directory}/slow.json"\n`;
    assert.equal(await devices(), 0);
    await scene.reload(text);
    assert.equal(await devices(), 1);
    await node("disk-1", "1");
    assert.equal(await devices(), 1, "a device that came later is not seen");
    await scene.reload(`${text}blockio_reload = true\n`);
    assert.equal(await devices(), 2);
    await node("disk-2", "2");
    assert.equal(await devices(), 3, "now it is");
    await scene.reload("");
    assert.equal(await devices(), 0);
  });

  await t.step("log_level log_filter", async () => {
    const lines = async (): Promise<number> => {
      const place = (await Deno.readTextFile(scene.lab.daemon.logPath)).length;
      await scene.spec();
      return (await scene.logFrom(place)).split("\n").filter((line) => / level=(debug|info) /.test(line)).length;
    };
    assert.ok(await lines() > 5);
    await scene.reload('[crio.runtime]\nlog_level = "error"\n');
    assert.equal(await lines(), 0);
    await scene.reload('[crio.runtime]\nlog_filter = "no line has this"\n');
    assert.equal(await lines(), 0);
    await scene.reload("");
    assert.ok(await lines() > 5);
  });
  assert.deepEqual(await scene.lab.leaks(), []);
});

Deno.test("what is wrong changes nothing and is named; what needs a restart is listed; crio reload prints both", async (t) => {
  await using scene = await ReloadScene.start();
  const { directory } = scene;
  const config = (): Promise<string> => scene.get(scene.lab.daemon.spec.socketPath, "http://localhost/config");
  const good = await config();
  const file = `${directory}/crio.conf.d/90-reload.conf`;
  const bad = [
    ["[crio", /90-reload\.conf: line 1/],
    ['[crio.runtime]\npids_limit = 5\nlog_level = "loud"', /90-reload\.conf: crio\.runtime\.log_level: .*loud/],
    ['[crio.runtime]\ndefault_runtime = "none"', /default_runtime: no handler "none"/],
    [
      `[crio.runtime]\nseccomp_profile = "${directory}/crio.conf"`,
      /seccomp_profile .*crio\.conf is not a valid profile/,
    ],
    [`[crio.runtime]\nrdt_config_file = "${directory}/absent"`, /rdt_config_file .*absent/],
    [`[crio.runtime]\nblockio_config_file = "${directory}/absent"`, /blockio_config_file .*absent/],
    [`[crio.image]\npause_image_auth_file = "${directory}/absent"`, /pause_image_auth_file: .*absent/],
  ] as const;
  for (const [text, reason] of bad) {
    await t.step(String(reason), async () => {
      const place = (await Deno.readTextFile(scene.lab.daemon.logPath)).length;
      assert.match(await scene.reload(`${text}\n`), reason);
      const line = /level=error msg="Unable to reload configuration: /;
      await until("the line in the log", async () => {
        return line.test(await scene.logFrom(place)) ? "there" : undefined;
      });
      assert.equal(await config(), good);
    });
  }
  await t.step("registries.conf", async () => {
    const registries = `${directory}/registries.d/wrong.conf`;
    await Deno.writeTextFile(registries, "[[registry]]\nlocation = 5\n");
    assert.match(await scene.reload('[crio.runtime]\nlog_level = "warn"\n'), /registries\.d\/wrong\.conf/);
    assert.equal(await config(), good);
    await Deno.remove(registries);
  });
  await t.step("policy.json", async () => {
    const policy = await Deno.readTextFile(`${directory}/policy.json`);
    await Deno.writeTextFile(`${directory}/policy.json`, '{"default":[{"type":"trustMe"}]}');
    assert.match(await scene.reload('[crio.runtime]\nlog_level = "warn"\n'), /policy\.json.*trustMe/);
    assert.equal(await config(), good);
    await Deno.writeTextFile(`${directory}/policy.json`, policy);
  });

  await t.step("a state directory under which pods run", async () => {
    await scene.inPod({}, async (pod) => {
      await pod.start({});
      const moved = scene.handler("crun").replace(`${directory}/crun`, `${directory}/elsewhere`);
      assert.match(await scene.reload(moved), /runtimes\.crun\.runtime_root cannot become .*drain the node first/);
    });
    assert.equal(await config(), good);
  });

  await t.step("a handler that is taken away still serves its pods", async () => {
    await scene.reload(scene.handler("second"));
    await scene.inPod({ runtimeHandler: "second" }, async (pod) => {
      await pod.start({});
      await scene.reload("");
      await pod.start({});
      assert.match(await scene.refusal({ runtimeHandler: "second" }), /"second" is not configured/);
    });
  });

  await t.step("crio reload", async () => {
    const run = async (): Promise<{ code: number; out: string; err: string }> => {
      const [program = "", ...args] = [...crioCommand(), "reload", "--socket", scene.lab.daemon.spec.socketPath];
      const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
      const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
      return { code, out: text(stdout), err: text(stderr) };
    };
    const text = '[crio.runtime]\ndefault_env = ["TOKEN=secret"]\nno_pivot = true\nlogg_level = "x"\n';
    await Deno.writeTextFile(file, text);
    const done = await run();
    assert.equal(done.code, 0, done.err);
    assert.match(done.out, /^warning: .*logg_level: is not known; is "log_level" meant\?$/m);
    assert.match(done.out, /^changed: crio\.runtime\.default_env: "\[\]" -> ".*TOKEN=….*"$/m);
    assert.match(done.out, /^needs a restart: crio\.runtime\.no_pivot: "false" -> "true"$/m);
    assert.match(done.out, /^reloaded; 1 options changed$/m);
    await Deno.writeTextFile(file, "[crio.image]\nimage_volumes = 3\n");
    const failed = await run();
    assert.deepEqual([failed.code, failed.out], [1, ""]);
    assert.match(failed.err, /90-reload\.conf: crio\.image\.image_volumes/);
    assert.ok(!(await Deno.readTextFile(scene.lab.daemon.logPath)).includes("TOKEN=secret"));
    await Deno.remove(file);
  });
});

/** SIGHUPs of the test below; the long form is 1000. */
const RELOADS = Number(Deno.env.get("RELOADS") ?? "30");
/** The daemon ends when its heap would grow beyond this; it needs 25. */
const HEAP_MIB = 64;
/** A leak of one descriptor in ten reloads would show. */
const FD_SLACK = 10;

function openFiles(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

Deno.test(`${RELOADS} SIGHUPs while pods come and go: no call fails, nothing is left`, async () => {
  await using scene = await ReloadScene.start({ DENO_V8_FLAGS: `--max-old-space-size=${HEAP_MIB}` });
  const { lab } = scene;
  const churn = new Churn(lab, Math.random);
  const texts = ["pids_limit = 500", 'default_env = ["A=b"]', 'default_runtime = "runc"', 'log_level = "info"'];
  // The caches of the first pods are not counted.
  await scene.spec();
  await scene.hangUp();
  const before = { files: openFiles(lab.daemon.pid), bytes: lab.daemon.memory().daemonBytes };
  const work = churn.work(4);
  const fromMs = performance.now();
  for (let i = 0; i < RELOADS; i++) {
    const text = `[crio.runtime]\n${texts[i % texts.length]}\n${
      scene.handler("crun", `container_create_timeout = ${i + 31}`)
    }`;
    assert.equal(await scene.reload(i % 3 === 0 ? "" : text), "Configuration reloaded");
  }
  const tookMs = performance.now() - fromMs;
  churn.finish();
  await work;
  assert.deepEqual(churn.failures, []);
  assert.equal(await scene.reload(""), "Configuration reloaded");
  await removeAllPods(lab.daemon.client);
  assert.deepEqual(await lab.leaks(), []);
  const after = { files: openFiles(lab.daemon.pid), bytes: lab.daemon.memory().daemonBytes };
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  Deno.stdout.writeSync(
    new TextEncoder().encode(
      `${RELOADS} reloads: ${(tookMs / RELOADS).toFixed(1)} ms each; files ${before.files} -> ${after.files}; ` +
        `memory ${mib(before.bytes)} -> ${mib(after.bytes)} MiB\n`,
    ),
  );
  assert.ok(after.files <= before.files + FD_SLACK, `${before.files} -> ${after.files} open files`);
});
