import { main } from "./src/cli/main.ts";
import { runAsThread } from "./src/cli/thread.ts";

if (!await runAsThread()) Deno.exitCode = await main(Deno.args);
