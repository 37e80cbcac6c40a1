import { match, rejects, strictEqual } from "node:assert/strict";
import { statusCommand } from "../../../src/cli/status.ts";
import { UsageError } from "../../../src/cli/flags.ts";

Deno.test("statusCommand() refuses a wrong command line before it asks anyone", async () => {
  for (
    const args of [[], ["what"], ["info", "extra"], ["--socket"], ["info", "--nope"], ["-t", "soon", "info"], [
      "top",
      "--sort",
      "x",
    ]]
  ) {
    await rejects(statusCommand(args), UsageError, args.join(" "));
  }
});

Deno.test("statusCommand() says what to look at when no daemon answers", async () => {
  await rejects(statusCommand(["-s", "/nonexistent/crio.sock", "info"]), (error) => {
    match(String(error), /no answer on \/nonexistent\/crio\.sock: .*is the daemon running/);
    strictEqual((error as { kind?: string }).kind, "unavailable");
    return true;
  });
});
