import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { checkStatus } from "../../src/cri/self_check.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { Service, takeServiceVariables } from "../../src/node/service.ts";
import { Front } from "../fakes/cri_front.ts";
import { ServiceManager } from "../fakes/notify_receiver.ts";

openLibraries();

const NEVER = AbortSignal.any([]);
const WATCHDOG_MS = 400;

/** A log that tells when it was written an error. */
function errorLog(): { log: Logger; next(): Promise<string> } {
  let wake = Promise.withResolvers<string>();
  return {
    log: { ...silentLogger, error: (message): void => wake.resolve(message), warn: (message) => wake.resolve(message) },
    next: (): Promise<string> => {
      wake = Promise.withResolvers();
      return wake.promise;
    },
  };
}

function pings({ messages }: ServiceManager): number {
  return messages.filter((message) => message === "WATCHDOG=1").length;
}

for (const kind of ["path", "abstract name"]) {
  Deno.test(`Service tells a manager by ${kind} of each state`, async () => {
    const directory = await Deno.makeTempDir();
    const socket = kind === "path" ? `${directory}/notify` : `@crio-test-${Deno.pid}`;
    using manager = ServiceManager.listen(socket);
    using service = new Service({ socket, watchdogMs: 0 }, silentLogger);
    const beforeMicros = await uptimeMicros();
    service.ready("Serving\non a socket");
    service.reloading();
    service.status("half way");
    service.ready("again");
    service.stopping();
    await manager.next(/STOPPING/);
    const [ready, reloading = "", ...rest] = manager.messages;
    equal(ready, "READY=1\nSTATUS=Serving on a socket");
    match(reloading, /^RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=/);
    const micros = Number(/USEC=(\d+)/.exec(reloading)?.[1]);
    ok(micros >= beforeMicros && micros < beforeMicros + 60e6, `${micros} is the machine's monotonic clock`);
    deepEqual(rest, [
      "STATUS=half way",
      "READY=1\nSTATUS=again",
      "STOPPING=1\nSTATUS=Stopping; containers keep running",
    ]);
    await Deno.remove(directory, { recursive: true });
  });
}

/** Not slept on this machine: the same as CLOCK_MONOTONIC, but for its two digits. */
async function uptimeMicros(): Promise<number> {
  return (Number((await Deno.readTextFile("/proc/uptime")).split(" ")[0]) - 0.02) * 1e6;
}

Deno.test("Service sends again what finds the manager's queue full, in order", async () => {
  const socket = `@crio-test-full-${Deno.pid}`;
  using manager = ServiceManager.listen(socket);
  using service = new Service({ socket, watchdogMs: 0 }, silentLogger);
  const MORE_THAN_THE_QUEUE_HOLDS = 60;
  for (let i = 0; i < MORE_THAN_THE_QUEUE_HOLDS; i++) service.status(`${i}`);
  await manager.next(new RegExp(`STATUS=${MORE_THAN_THE_QUEUE_HOLDS - 1}$`));
  deepEqual(manager.messages, Array.from({ length: MORE_THAN_THE_QUEUE_HOLDS }, (_, i) => `STATUS=${i}`));
});

Deno.test("Service says once in the log when the manager cannot be told, and goes on", async () => {
  const { log, next } = errorLog();
  const told = next();
  using service = new Service({ socket: `@nobody-${Deno.pid}`, watchdogMs: 0 }, log);
  service.ready("x");
  match(await told, /was not told READY=1: sendto @nobody-\d+: .*ECONNREFUSED/);
  const bad = next();
  using _other = new Service({ socket: "vsock:2:1", watchdogMs: 0 }, log);
  match(await bad, /NOTIFY_SOCKET "vsock:2:1" is not an absolute path/);
});

Deno.test("takeServiceVariables() takes them out of the environment, and heeds whom the watchdog is meant for", () => {
  const take = (entries: Record<string, string>): unknown => {
    const variables = new Map(Object.entries(entries));
    const taken = takeServiceVariables({
      get: (name) => variables.get(name),
      delete: (name) => variables.delete(name),
    });
    equal(variables.size, 0);
    return taken;
  };
  deepEqual(take({}), { socket: "", watchdogMs: 0 });
  deepEqual(take({ NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "30000000" }), { socket: "/n", watchdogMs: 30_000 });
  deepEqual(take({ WATCHDOG_USEC: "5000", WATCHDOG_PID: String(Deno.pid) }), { socket: "", watchdogMs: 5 });
  deepEqual(take({ WATCHDOG_USEC: "5000", WATCHDOG_PID: "1" }), { socket: "", watchdogMs: 0 });
  deepEqual(take({ WATCHDOG_USEC: "soon" }), { socket: "", watchdogMs: 0 });
});

Deno.test("checkStatus() makes a call that the server counts, again and again, and leaves no connection", async () => {
  await using front = await Front.open();
  for (let round = 0; round < 50; round++) await checkStatus(front.path, { signal: NEVER });
  equal(front.metrics.observed.filter(({ operation }) => operation === "Status").length, 50);
});

Deno.test("checkStatus() fails when Status fails, says no, hangs, or nobody listens", async () => {
  await using broken = await Front.open({ runtime: { status: () => Promise.reject(new Error("broken")) } });
  await rejects(checkStatus(broken.path, { signal: NEVER }), /Status was answered with an error/);
  const conditions = [{ type: "RuntimeReady", status: false, reason: "NoDisk", message: "" }];
  const answer = { status: { conditions }, info: new Map(), runtimeHandlers: [], features: undefined };
  await using unready = await Front.open({ runtime: { status: () => Promise.resolve(answer) } });
  await rejects(checkStatus(unready.path, { signal: NEVER }), /the runtime is not ready: NoDisk/);
  const hang = Promise.withResolvers<never>();
  await using stuck = await Front.open({ runtime: { status: () => hang.promise } });
  await rejects(checkStatus(stuck.path, { signal: AbortSignal.timeout(50) }), /due to timeout/);
  hang.reject(new Error("over"));
  await rejects(checkStatus("/nowhere/crio.sock", { signal: NEVER }), /ENOENT|No such file/);
});

Deno.test("a Status that hangs stops the signs of life, and they come again when it answers again", async () => {
  let answers = Promise.resolve();
  await using front = await Front.open();
  const stuck = Promise.withResolvers<void>();
  const socket = `@crio-test-watch-${Deno.pid}`;
  using manager = ServiceManager.listen(socket);
  const { log, next } = errorLog();
  using service = new Service({ socket, watchdogMs: WATCHDOG_MS }, log);
  service.watch(async (limit) => {
    await checkStatus(front.path, limit);
    const { promise, reject } = Promise.withResolvers<never>();
    limit.signal.addEventListener("abort", () => reject(limit.signal.reason));
    await Promise.race([answers, promise]);
  });
  await manager.next(/WATCHDOG=1/);
  answers = stuck.promise;
  match(await next(), /no sign of life for the service manager: .*timeout/);
  const before = pings(manager);
  await next();
  await next();
  equal(pings(manager), before);
  stuck.resolve();
  await manager.next(/WATCHDOG=1/, { from: manager.messages.length });
  service.stopping();
});
