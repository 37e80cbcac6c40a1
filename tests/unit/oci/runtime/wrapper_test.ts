import { match, notEqual } from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { CgroupLayout } from "../../../../src/linux/host.ts";
import { runtimePathFor } from "../../../../src/oci/runtime/wrapper.ts";
import type { RuntimeVersion } from "../../../../src/oci/runtime/version.ts";

Deno.test("each program has a wrapper of its own, and handlers with the same one can be opened at once", async () => {
  const directory = await Deno.makeTempDir({ prefix: "wrapper-" });
  try {
    const version = { program: "crun", version: "1.8", major: 1, minor: 8 } as RuntimeVersion;
    const cgroup = {
      mode: "hybrid",
      unified: "/sys/fs/cgroup/unified",
      unifiedControllers: ["memory"],
    } as unknown as CgroupLayout;
    const paths = ["/usr/bin/crun", "/usr/bin/crun", "/opt/crun"];
    const [first = "", , other = ""] = await Promise.all(
      paths.map((path) => runtimePathFor({ path, version, cgroup, directory, log: silentLogger })),
    );
    notEqual(first, other);
    match(await Deno.readTextFile(first), /'\/usr\/bin\/crun'/);
    match(await Deno.readTextFile(other), /'\/opt\/crun'/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
