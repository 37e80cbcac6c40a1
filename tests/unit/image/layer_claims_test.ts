import { deepEqual, equal, rejects } from "node:assert/strict";
import { LayerClaims } from "../../../src/image/layer_claims.ts";

const NEVER = new AbortController().signal;
const counts = (...numbers: readonly number[]): () => Promise<number> => {
  const left = [...numbers];
  return () => Promise.resolve(left.length > 1 ? left.shift() ?? 0 : left[0] ?? 0);
};

Deno.test("LayerClaims lets pulls without a common layer go on side by side", async () => {
  const claims = new LayerClaims();
  using one = await claims.claim(["a", "b"], counts(0), { signal: NEVER });
  // The same layer above another one is another layer.
  using two = await claims.claim(["c", "b"], counts(0), { signal: NEVER });
  // And what is in the store is nobody's.
  using three = await claims.claim(["a", "b", "c"], counts(2), { signal: NEVER });
  deepEqual([one.present, two.present, three.present], [0, 0, 2]);
});

Deno.test("LayerClaims.claim() waits for whoever has a layer, and asks the store again", async () => {
  const claims = new LayerClaims();
  const events: string[] = [];
  const first = await claims.claim(["a", "b"], counts(0), { signal: NEVER });
  const onWait = (): void => {
    events.push("waits");
    first[Symbol.dispose]();
  };
  using second = await claims.claim(["a", "c"], counts(0, 1), { signal: NEVER, onWait });
  deepEqual([events, second.present], [["waits"], 1]);
});

Deno.test("LayerClaims.claim() takes the layers over when the other pull failed", async () => {
  const claims = new LayerClaims();
  const first = await claims.claim(["a"], counts(0), { signal: NEVER });
  using second = await claims.claim(["a"], counts(0), { signal: NEVER, onWait: () => first[Symbol.dispose]() });
  equal(second.present, 0);
});

Deno.test("LayerClaims.claim() asks again when a claim ended while it asked", async () => {
  const claims = new LayerClaims();
  const first = await claims.claim(["a"], counts(0), { signal: NEVER });
  let asked = 0;
  const countPresent = (): Promise<number> => {
    if (asked++ === 0) first[Symbol.dispose]();
    return Promise.resolve(asked - 1);
  };
  using second = await claims.claim(["a"], countPresent, { signal: NEVER });
  deepEqual([asked, second.present], [2, 1]);
});

Deno.test("LayerClaims.claim() gives up with its signal and holds nothing then", async () => {
  const claims = new LayerClaims();
  const first = await claims.claim(["a"], counts(0), { signal: NEVER });
  const controller = new AbortController();
  const onWait = (): void => controller.abort(new Error("enough"));
  await rejects(claims.claim(["a", "b"], counts(0), { signal: controller.signal, onWait }), /enough/);
  first[Symbol.dispose]();
  using _third = await claims.claim(["a", "b"], counts(0), { signal: NEVER });
});
