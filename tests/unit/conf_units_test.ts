import { deepStrictEqual, match, ok } from "node:assert/strict";
import { globalFlags } from "../../src/cli/global_flags.ts";
import { COMMANDS } from "../../src/cli/commands.ts";

const conf = (name: string): Promise<string> => Deno.readTextFile(new URL(`../../conf/${name}`, import.meta.url));

Deno.test("the units use the variables that the file of flags has, and commands that there are", async () => {
  const variables = [...(await conf("crio.sysconfig")).matchAll(/^(CRIO_\w+)=$/gm)].map(([, name]) => name).toSorted();
  const daemon = await conf("crio.service");
  deepStrictEqual([...daemon.matchAll(/\$(CRIO_\w+)/g)].map(([, name]) => name).toSorted(), variables);
  const wipe = await conf("crio-wipe.service");
  for (const [, name = ""] of wipe.matchAll(/\$(CRIO_\w+)/g)) ok(variables.includes(name), name);
  const [, command] = /\\\n\s+(\w+)\n/.exec(wipe) ?? [];
  ok(COMMANDS.some(({ name }) => name === command), `crio ${command}`);
});

Deno.test("the file of flags names flags that there are", async () => {
  const known = new Set(globalFlags().map(({ name }) => name));
  const named = [...(await conf("crio.sysconfig")).matchAll(/such as --([\w-]+)/g)].map(([, name = ""]) => name);
  deepStrictEqual(named.filter((name) => !known.has(name)), []);
  deepStrictEqual(named.length, 5);
});

Deno.test("crio.service is told of by the daemon, watched, and reloaded by a signal; containers outlive it", async () => {
  const unit = await conf("crio.service");
  for (const line of ["Type=notify", "WatchdogSec=60s", "KillMode=process", "OOMScoreAdjust=-999"]) {
    match(unit, new RegExp(`^${line}$`, "m"));
  }
  match(unit, /^ExecReload=.* HUP \$MAINPID$/m);
});
