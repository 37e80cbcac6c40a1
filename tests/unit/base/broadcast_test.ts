import { deepEqual, equal, rejects } from "node:assert/strict";
import { Broadcast, type Subscription } from "../../../src/base/broadcast.ts";

const { signal } = new AbortController();

async function take<T>(subscription: Subscription<T>, count: number): Promise<Array<T | undefined>> {
  const items: Array<T | undefined> = [];
  for (let left = count; left > 0; left -= 1) items.push(await subscription.next({ signal }));
  return items;
}

Deno.test("Broadcast.publish() gives each subscriber all items since it came, in order", async () => {
  const broadcast = new Broadcast<number>({ limit: 10 });
  const first = broadcast.subscribe();
  broadcast.publish(1);
  const second = broadcast.subscribe();
  broadcast.publish(2);
  broadcast.publish(3);
  deepEqual(await take(first, 3), [1, 2, 3]);
  deepEqual(await take(second, 2), [2, 3]);
});

Deno.test("Subscription.next() waits for an item that is not there yet", async () => {
  const broadcast = new Broadcast<string>({ limit: 1 });
  const subscription = broadcast.subscribe();
  const waiting = [take(subscription, 1), take(subscription, 0)];
  broadcast.publish("late");
  deepEqual(await waiting[0], ["late"]);
});

Deno.test("Broadcast drops what goes beyond a subscriber's limit, for that one alone", async () => {
  const dropped: number[] = [];
  const broadcast = new Broadcast<number>({ limit: 3, onDrop: (inARow) => dropped.push(inARow) });
  const slow = broadcast.subscribe();
  const quick = broadcast.subscribe();
  for (let item = 1; item <= 5; item += 1) {
    broadcast.publish(item);
    equal(await quick.next({ signal }), item);
  }
  deepEqual(dropped, [1, 2]);
  equal(await slow.next({ signal }), 1);
  broadcast.publish(6);
  broadcast.publish(7);
  deepEqual(dropped, [1, 2, 1]);
  deepEqual(await take(slow, 3), [2, 3, 6]);
});

Deno.test("Broadcast keeps order through many times its limit", async () => {
  const broadcast = new Broadcast<number>({ limit: 4 });
  const subscription = broadcast.subscribe();
  const seen: Array<number | undefined> = [];
  for (let item = 0; item < 100; item += 2) {
    broadcast.publish(item);
    broadcast.publish(item + 1);
    seen.push(...await take(subscription, item % 3 === 0 ? 2 : 1));
    if (seen.length < item) seen.push(await subscription.next({ signal }));
  }
  deepEqual(seen, [...seen].sort((a, b) => Number(a) - Number(b)));
  equal(new Set(seen).size, seen.length);
});

Deno.test("Subscription.next() ends with the signal, and a disposed one is forgotten", async () => {
  const broadcast = new Broadcast<number>({ limit: 1 });
  {
    using subscription = broadcast.subscribe();
    equal(broadcast.size, 1);
    const controller = new AbortController();
    const waiting = subscription.next({ signal: controller.signal });
    controller.abort(new Error("gone"));
    await rejects(waiting, /gone/);
    broadcast.publish(7);
    equal(await subscription.next({ signal }), 7);
  }
  equal(broadcast.size, 0);
});

Deno.test("Broadcast[Symbol.dispose]() ends subscriptions after what waits, and those that come later at once", async () => {
  const broadcast = new Broadcast<number>({ limit: 5 });
  const [busy, idle] = [broadcast.subscribe(), broadcast.subscribe()];
  const waiting = idle.next({ signal }).then(() => idle.next({ signal }));
  broadcast.publish(1);
  broadcast[Symbol.dispose]();
  equal(await waiting, undefined);
  deepEqual(await take(busy, 2), [1, undefined]);
  equal(await broadcast.subscribe().next({ signal }), undefined);
  equal(broadcast.size, 0);
});
