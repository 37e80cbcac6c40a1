import assert from "node:assert/strict";
import { JointOperations } from "../../../src/base/joint_operations.ts";
import { KeyedMutex } from "../../../src/base/keyed_mutex.ts";
import { Semaphore } from "../../../src/base/semaphore.ts";
import { Singleflight } from "../../../src/base/singleflight.ts";
import { CancelledError, DeadlineError } from "../../../src/base/errors.ts";

Deno.test("KeyedMutex.acquire() lets holders of one key in one by one, in order", async () => {
  const mutex = new KeyedMutex<string>();
  const order: number[] = [];
  const first = await mutex.acquire("a");
  const others = [1, 2, 3].map(async (n) => {
    using _lock = await mutex.acquire("a");
    order.push(n);
  });
  using _other = await mutex.acquire("b");
  assert.deepEqual(order, []);
  first[Symbol.dispose]();
  await Promise.all(others);
  assert.deepEqual(order, [1, 2, 3]);
});

Deno.test("KeyedMutex.acquire() gives its place up when its signal aborts", async () => {
  const mutex = new KeyedMutex<string>();
  const holder = await mutex.acquire("a");
  const controller = new AbortController();
  const impatient = mutex.acquire("a", { signal: controller.signal });
  const patient = mutex.acquire("a");
  controller.abort(new Error("gone"));
  await assert.rejects(impatient, /gone/);
  holder[Symbol.dispose]();
  (await patient)[Symbol.dispose]();
  await Promise.resolve().then(() => Promise.resolve());
  assert.equal(mutex.size, 0);
});

Deno.test("KeyedMutex.acquire() keeps others out when the last in the queue gave its place up", async () => {
  const mutex = new KeyedMutex<string>();
  const holder = await mutex.acquire("a");
  const controller = new AbortController();
  const impatient = mutex.acquire("a", { signal: controller.signal });
  controller.abort(new Error("gone"));
  await assert.rejects(impatient, /gone/);
  let entered = false;
  const next = mutex.acquire("a").then((lock) => {
    entered = true;
    return lock;
  });
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  assert.ok(!entered);
  holder[Symbol.dispose]();
  (await next)[Symbol.dispose]();
});

Deno.test("Semaphore.acquire() admits no more than its limit and passes places on", async () => {
  const semaphore = new Semaphore(2);
  const held = [await semaphore.acquire(), await semaphore.acquire()];
  const controller = new AbortController();
  const aborted = semaphore.acquire({ signal: controller.signal });
  let third = false;
  const waiting = semaphore.acquire().then((permit) => {
    third = true;
    return permit;
  });
  controller.abort();
  await assert.rejects(aborted);
  assert.ok(!third);
  held[0]?.[Symbol.dispose]();
  held[0]?.[Symbol.dispose]();
  (await waiting)[Symbol.dispose]();
  held[1]?.[Symbol.dispose]();
});

Deno.test("Semaphore.acquire() lets urgent ones go first, in order, but not for ever", async () => {
  const semaphore = new Semaphore(1);
  const first = await semaphore.acquire();
  const order: string[] = [];
  const enter = async (name: string, options: { urgent?: boolean }): Promise<void> => {
    using _place = await semaphore.acquire(options);
    order.push(name);
  };
  const all = [enter("patient", {}), ...Array.from({ length: 10 }, (_, i) => enter(`u${i}`, { urgent: true }))];
  first[Symbol.dispose]();
  await Promise.all(all);
  assert.deepEqual(order.slice(0, 3), ["u0", "u1", "u2"]);
  assert.ok(order.indexOf("patient") < order.length - 1);
});

Deno.test("Singleflight.run() runs once for all who come and cancels when all have gone", async () => {
  const flights = new Singleflight<string, number>();
  let runs = 0;
  let cancelled = false;
  const gate = Promise.withResolvers<number>();
  const operation = (signal: AbortSignal): Promise<number> => {
    runs += 1;
    signal.addEventListener("abort", () => {
      cancelled = true;
      gate.reject(new Error("stopped"));
    });
    return gate.promise;
  };
  const one = new AbortController();
  const two = new AbortController();
  const a = flights.run("k", { signal: one.signal }, operation);
  const b = flights.run("k", { signal: two.signal }, operation);
  one.abort(new Error("one left"));
  await assert.rejects(a, /one left/);
  assert.ok(!cancelled);
  two.abort(new Error("two left"));
  await assert.rejects(b, /two left/);
  assert.ok(cancelled);
  assert.equal(runs, 1);
});

Deno.test("JointOperations.run() goes on without its caller and hands the result to the retry", async () => {
  const joint = new JointOperations<string>({ what: "make", limitMs: 60_000 });
  const gate = Promise.withResolvers<string>();
  let runs = 0;
  const operation = (context: { stage(name: string): void }): Promise<string> => {
    runs += 1;
    context.stage("waiting at the gate");
    return gate.promise;
  };
  const caller = new AbortController();
  const first = joint.run("x", { signal: caller.signal }, operation);
  await Promise.resolve();
  await Promise.resolve();
  caller.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(first, (error) => error instanceof DeadlineError && /waiting at the gate/.test(error.message));
  const retry = joint.run("x", { signal: new AbortController().signal }, operation);
  gate.resolve("made");
  assert.equal(await retry, "made");
  assert.equal(runs, 1);
});

Deno.test("JointOperations.run() tells a caller that cancelled from one whose time ran out", async () => {
  const joint = new JointOperations<void>({ what: "make", limitMs: 60_000 });
  const gate = Promise.withResolvers<void>();
  const caller = new AbortController();
  const result = joint.run("x", { signal: caller.signal }, () => gate.promise);
  caller.abort();
  await assert.rejects(result, CancelledError);
  gate.resolve();
  await joint.settled("x");
});

Deno.test("JointOperations.run() tells of each stage when it is left, the last one at a failure too", async () => {
  const left: string[] = [];
  const onStage = (stage: string, elapsedMs: number): void => void left.push(`${stage} ${elapsedMs >= 4}`);
  const operations = new JointOperations<void>({ what: "make", limitMs: 60_000, onStage });
  const { signal } = new AbortController();
  await operations.run("x", { signal }, async ({ stage }) => {
    stage("one");
    await new Promise((resolve) => setTimeout(resolve, 5));
    stage("two");
    throw new Error("no");
  }).catch(() => {});
  assert.deepEqual(left, ["one true", "two false"]);
});

Deno.test("JointOperations.run() tells of each caller that joins, with the stage", async () => {
  const joined: string[] = [];
  const operations = new JointOperations<string>({
    what: "make",
    limitMs: 1000,
    onJoin: (stage) => joined.push(stage),
  });
  const gate = Promise.withResolvers<void>();
  const options = { signal: new AbortController().signal };
  const work = async ({ stage }: { stage(name: string): void }): Promise<string> => {
    stage("half way");
    await gate.promise;
    return "done";
  };
  const first = operations.run("a", options, work);
  await Promise.resolve();
  const again = operations.run("a", options, work);
  const other = operations.run("b", options, work);
  gate.resolve();
  assert.deepEqual(await Promise.all([first, again, other]), ["done", "done", "done"]);
  assert.deepEqual(joined, ["half way"]);
});
