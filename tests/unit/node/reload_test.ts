import { rejects } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { buildConfig } from "../../../src/config/build.ts";
import type { Config, HandlerConfig } from "../../../src/config/schema.ts";
import { NodeRuntimes } from "../../../src/container/runtime_table.ts";
import { reloadRuntimes, type RuntimeParts } from "../../../src/node/reload.ts";
import { loadText } from "../config/_fixtures.ts";

Deno.test("a handler that comes back must have the state directory that its pods know", async () => {
  const base = buildConfig(await loadText(""));
  const withHandlers = (...handlers: HandlerConfig[]): Config => ({
    ...base,
    handlers: new Map(handlers.map((handler) => [handler.name, handler])),
  });
  // No handler of these is opened: the refusal comes before that.
  const kata = { name: "kata", runtimeRoot: "/run/kata" } as HandlerConfig;
  const running = withHandlers(kata);
  const prepare = reloadRuntimes({
    config: running,
    runtimes: new NodeRuntimes(new Map(), "crun"),
    metrics: { defaultRuntime: () => {} },
    users: () => [{ runtimeHandler: "kata" }],
    log: silentLogger,
  } as unknown as RuntimeParts);
  const changed = new Set(["crio.runtime.runtimes.kata.runtime_root"]);
  (await prepare(withHandlers(), changed))?.();
  (running.handlers as Map<string, HandlerConfig>).clear();
  await rejects(prepare(withHandlers({ ...kata, runtimeRoot: "/run/other" }), changed), /drain the node first/);
});
