import assert from "node:assert/strict";
import { ServiceManager } from "../fakes/notify_receiver.ts";
import { Lab } from "./harness/lab.ts";
import { until } from "./harness/tries.ts";
import { containerConfig, podConfig, SLEEPER } from "./harness/pods.ts";

/** Variables of a process's environment that belong to the service manager's protocol. */
async function serviceVariables(pid: number): Promise<string[]> {
  const environment = await Deno.readTextFile(`/proc/${pid}/environ`);
  return environment.split("\0").filter((entry) => /^(NOTIFY_SOCKET|WATCHDOG_USEC|WATCHDOG_PID)=/.test(entry));
}

/** A lab whose daemon is a service of `manager`. */
function startLab(manager: ServiceManager): Promise<Lab> {
  const environment = { NOTIFY_SOCKET: manager.socketName, WATCHDOG_USEC: "2000000" };
  return Lab.start({ environment });
}

Deno.test("a service: ready when the socket serves, alive by its own Status, stopping; no child can speak for it", async () => {
  using manager = ServiceManager.listen(`@crio-e2e-${Deno.pid}`);
  await using lab = await startLab(manager);
  const { client } = lab.daemon;
  const ready = await manager.next(/^READY=1/);
  assert.equal(ready, `READY=1\nSTATUS=Serving on ${lab.daemon.spec.socketPath}`);
  assert.equal(manager.messages[0], ready, "nothing is said before it serves");
  await manager.next(/^WATCHDOG=1$/);

  await lab.pull();
  const config = podConfig(lab.pod("service"));
  const { podSandboxId } = await client.call("runPodSandbox", { config });
  const container = containerConfig({ name: "c", image: lab.image, command: SLEEPER });
  const request = { podSandboxId, config: container, sandboxConfig: config };
  const { containerId } = await client.call("createContainer", request);
  await client.call("startContainer", { containerId });
  const children = lab.daemon.processes().filter(({ pid }) => pid !== lab.daemon.pid);
  const programs = children.map(({ argv }) => argv.join(" "));
  assert.ok(
    programs.some((line) => line.includes("conmon")) && programs.some((line) => line.includes("internal pull")),
  );
  for (const { pid, argv } of children) assert.deepEqual(await serviceVariables(pid), [], argv.join(" "));
  assert.equal((await serviceVariables(lab.daemon.pid)).length, 2, "the kernel shows what the manager gave");

  // A process that does not run gives no sign of life; neither does one whose event loop hangs: the same to the manager.
  Deno.kill(lab.daemon.pid, "SIGSTOP");
  const before = manager.messages.length;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.equal(manager.messages.length, before);
  Deno.kill(lab.daemon.pid, "SIGCONT");
  await manager.next(/^WATCHDOG=1$/, { from: before });

  await client.call("removePodSandbox", { podSandboxId });
  await lab.daemon.stop();
  await manager.next(/^STOPPING=1/);
  await lab.daemon.start();
});

Deno.test("SIGUSR1 and SIGUSR2 do not end the daemon; SIGUSR2 collects garbage and says so", async () => {
  await using lab = await Lab.start();
  Deno.kill(lab.daemon.pid, "SIGUSR1");
  Deno.kill(lab.daemon.pid, "SIGUSR2");
  await until("the collection", () => {
    return Promise.resolve(/SIGUSR2: garbage is collected.*rssBytes=\d+/.test(lab.daemon.logTail(10)) || undefined);
  });
  assert.equal((await lab.daemon.client.call("version", {})).runtimeName, "cri-o");
});

Deno.test("lines to the journal begin with their severity", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const file = `${directory}/journal`;
    await Deno.writeTextFile(file, "");
    const { dev, ino } = await Deno.stat(file);
    const run = async (stream: string): Promise<string> => {
      const script = `"$@" 2>>"${file}"; cat "${file}"; : > "${file}"`;
      const argv = [Deno.execPath(), "eval", PROGRAM];
      const env = { JOURNAL_STREAM: stream };
      const { stdout } = await new Deno.Command("/bin/sh", { args: ["-c", script, "sh", ...argv], env }).output();
      return new TextDecoder().decode(stdout);
    };
    assert.match(await run(`${dev}:${ino}`), /^<3>time=.* level=error msg=bad\n<6>time=.* level=info msg=good\n$/);
    assert.match(await run(`${dev}:1`), /^time=.* level=error msg=bad\ntime=.* level=info msg=good\n$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

const source = (path: string): string => JSON.stringify(new URL(`../../src/log/${path}`, import.meta.url).href);
const PROGRAM = `
  import { isJournal } from ${source("journal.ts")};
  import { Log } from ${source("logger.ts")};
  await using log = new Log({ journal: isJournal(Deno.env.get("JOURNAL_STREAM")) });
  log.root.error("bad");
  log.root.info("good");`;
