/** Code that does what it must not, so that it is seen that the runner sees it. */
import { cpuUsage } from "node:process";
import { InvalidArgumentError } from "../../src/base/errors.ts";
import type { Random } from "./random.ts";
import type { Bytes, FuzzSession, FuzzTarget, Reached } from "./target.ts";
import { refusable } from "./target.ts";

/** What is wrong with which case; all others are right. */
const WRONG: Readonly<Record<number, string>> = { 3: "type", 5: "death", 7: "hang", 9: "rejection", 11: "slow" };

export const BROKEN: FuzzTarget = {
  name: "broken",
  open: () => Promise.resolve(new BrokenSession()),
};

class BrokenSession implements FuzzSession {
  generate(_random: Random, index: number): Bytes {
    return new Uint8Array([index]);
  }

  async run([index = 0]: Bytes): Promise<Reached> {
    switch (WRONG[index]) {
      case "type":
        await refusable(() => (undefined as unknown as string).length);
        break;
      case "death":
        Deno.kill(Deno.pid, "SIGKILL");
        break;
      case "rejection":
        Promise.reject(new Error("forgotten"));
        await new Promise((resolve) => setTimeout(resolve, 1));
        await new Promise((resolve) => setTimeout(resolve, 1));
        break;
      case "slow":
      case "hang":
        for (const before = cpuUsage(); WRONG[index] === "hang" || cpuUsage(before).user < 150_000;);
    }
    const refused = await refusable(() => {
      if (index % 2 === 1) throw new InvalidArgumentError("odd");
      return true;
    });
    return refused === undefined ? "refused" : "accepted";
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
