import { main } from "./src/cli/main.ts";
import { runAsThread } from "./src/cli/thread.ts";
import { calledAsStatus } from "./src/cli/called_as.ts";

if (!await runAsThread()) Deno.exitCode = await main(calledAsStatus() ? ["status", ...Deno.args] : Deno.args);
