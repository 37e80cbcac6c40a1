import assert from "node:assert/strict";
import { silentLogger } from "../../src/base/logger.ts";
import { commandResult, DEFAULT_PATH } from "../../src/linux/command.ts";
import { inspectHost } from "../../src/linux/host.ts";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { OciRuntime } from "../../src/oci/runtime/runtime.ts";
import { needsV1View, runtimePathFor } from "../../src/oci/runtime/wrapper.ts";

openLibraries();

const CRUN = "/usr/bin/crun";
const env = { PATH: DEFAULT_PATH };
const { cgroup } = await inspectHost();
const version = await new OciRuntime({ name: "crun", path: CRUN, root: "/run/crun" }).version();
/** On any other host there is nothing to wrap. */
const ignore = !needsV1View(version, cgroup);

/** In a mount namespace where every mount is shared, as systemd makes them: calls the wrapper, then looks outside. */
const SCRIPT = `
mount --make-rshared / && mount --make-rshared /sys/fs/cgroup || exit 90
"$1" --version >/dev/null || exit 91
mountpoint -q /sys/fs/cgroup/unified || exit 92
"$1" --root "$2" list >/dev/null || exit 93
cat /proc/self/mountinfo | grep ' /sys/fs/cgroup ' | grep -q shared: || exit 94
`;

for (const [how, perl] of [["perl", "/usr/bin/perl"], ["sh", "/nonexistent"]] as const) {
  Deno.test({
    name: `the wrapper (${how}) detaches the v2 mount for the runtime only, where mounts are shared too`,
    ignore,
    fn: async () => {
      const directory = await Deno.makeTempDir({ prefix: "wrapper-" });
      try {
        const path = await runtimePathFor({ path: CRUN, version, cgroup, directory, log: silentLogger, perl });
        assert.notEqual(path, CRUN);
        const argv = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", SCRIPT, "sh", path, `${directory}/root`];
        const result = await commandResult(argv, { env });
        assert.equal(result.exitCode, 0, new TextDecoder().decode(result.stderr));
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  });
}
