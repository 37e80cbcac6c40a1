/** OCI hooks: programs of the node that the runtime runs at the stages of a container's life. */
import assert from "node:assert/strict";
import { Mount } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { SLEEPER } from "./harness/pods.ts";
import { PodUnderTest, until } from "./harness/tries.ts";

/** Before start, by the runtime outside the container; createContainer and startContainer see the container's own files. */
const OUTSIDE = ["prestart", "createRuntime", "poststart", "poststop"];

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: hooks run at their stages for the containers that they are for`, async () => {
    await using lab = await Lab.start({ defaultRuntime: runtime });
    await lab.pull();
    const journal = `${lab.directory}/journal`;
    const script = `${lab.directory}/note`;
    // The runtime gives the container's state on the standard input.
    await Deno.writeTextFile(script, `#!/bin/sh\ncat >/dev/null\necho "$1" >>${journal}\n`, { mode: 0o755 });
    const write = async (name: string, fields: object): Promise<void> => {
      const hook = { path: script, args: ["note", name] };
      const text = JSON.stringify({ version: "1.0.0", hook, ...fields });
      await Deno.writeTextFile(`${lab.directory}/hooks/${name}.json`, text);
    };
    const noted = async (): Promise<string[]> => {
      const text = await Deno.readTextFile(journal).catch(() => "");
      return text.split("\n").filter((line) => line !== "");
    };
    for (const stage of OUTSIDE) await write(stage, { when: { always: true }, stages: [stage] });
    const pod = await PodUnderTest.run(lab, "hooks");

    const plain = await pod.start({});
    await pod.removeContainer(plain);
    const all = await until(
      "all stages",
      async () => (await noted()).length >= OUTSIDE.length ? await noted() : undefined,
    );
    assert.deepEqual(all.toSorted(), OUTSIDE.toSorted());
    assert.ok(all.indexOf("prestart") < all.indexOf("poststart") && all.at(-1) === "poststop", all.join(" "));

    // Written while the daemon runs; the old form among them.
    for (const stage of OUTSIDE) await Deno.remove(`${lab.directory}/hooks/${stage}.json`);
    await write("volumes", { when: { hasBindMounts: true }, stages: ["prestart"] });
    await write("annotated", { when: { annotations: { "^example.com/": "^yes$" } }, stages: ["prestart"] });
    await write("command", { when: { commands: ["^/bin/busybox$"] }, stages: ["prestart"] });
    const old = { hook: script, arguments: ["old"], stages: ["prestart"], cmds: ["/sh$"], annotations: ["^yes$"] };
    await Deno.writeTextFile(`${lab.directory}/hooks/old.json`, JSON.stringify(old));
    await Deno.remove(journal);
    const seenBy = async (change: Parameters<typeof pod.start>[0]): Promise<string[]> => {
      await pod.removeContainer(await pod.start(change));
      const lines = await noted();
      await Deno.writeTextFile(journal, "");
      return lines.toSorted();
    };
    const mount = message(Mount, { containerPath: "/v", hostPath: `${lab.directory}/volume` });
    assert.deepEqual(await seenBy({ change: (config) => config.mounts = [mount] }), ["old", "volumes"]);
    const busybox = ["/bin/busybox", "sleep", "100"];
    assert.deepEqual(await seenBy({ command: busybox }), ["command"]);
    const annotations = new Map([["example.com/hook", "yes"]]);
    assert.deepEqual(await seenBy({ command: busybox, change: (config) => config.annotations = annotations }), [
      "annotated",
      "command",
      "old",
    ]);

    // A hook inside the container, and one that fails: the container must not run.
    for (const name of ["volumes", "annotated", "command", "old"]) {
      await Deno.remove(`${lab.directory}/hooks/${name}.json`);
    }
    const inside = { path: "/bin/touch", args: ["touch", "/by-hook"] };
    await write("inside", { hook: inside, when: { always: true }, stages: ["startContainer"] });
    await pod.removeContainer(await pod.start({ command: SLEEPER }));
    await write("inside", { hook: { path: "/bin/false" }, when: { always: true }, stages: ["createRuntime"] });
    await assert.rejects(pod.start({}), /hook/);
    await pod.remove();
    assert.deepEqual(await lab.leaks(), []);
  });
}
