import assert from "node:assert/strict";
import { ResourceExhaustedError } from "../../../src/base/errors.ts";
import { TokenCache } from "../../../src/streaming/tokens.ts";

Deno.test("TokenCache gives a value once", () => {
  const cache = new TokenCache<number>();
  const token = cache.insert(7);
  assert.match(token, /^[A-Za-z0-9_-]{22}$/);
  assert.equal(cache.consume(token), 7);
  assert.equal(cache.consume(token), undefined);
  assert.equal(cache.consume("nonsense"), undefined);
});

Deno.test("TokenCache forgets a value after its life", () => {
  let nowMs = 0;
  const cache = new TokenCache<number>({ lifeMs: 1000, now: () => nowMs });
  const token = cache.insert(1);
  nowMs = 999;
  const later = cache.insert(2);
  nowMs = 1000;
  assert.equal(cache.consume(token), undefined);
  assert.equal(cache.size, 1);
  assert.equal(cache.consume(later), 2);
});

Deno.test("TokenCache refuses more than it may hold, and takes more once old ones are gone", () => {
  let nowMs = 0;
  const cache = new TokenCache<number>({ maxWaiting: 2, lifeMs: 10, now: () => nowMs });
  cache.insert(1);
  cache.insert(2);
  assert.throws(() => cache.insert(3), ResourceExhaustedError);
  nowMs = 10;
  cache.insert(3);
  assert.equal(cache.size, 1);
});
