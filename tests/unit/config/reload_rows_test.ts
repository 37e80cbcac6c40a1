import { deepStrictEqual } from "node:assert/strict";
import { HANDLER, PLACES } from "../../../src/config/schema.ts";
import { HANDLER_ROWS } from "../../e2e/reload/handler_rows.ts";
import { ROWS } from "../../e2e/reload/rows.ts";

/** Options that are reloaded without a row of their own in `tests/e2e/reload`, and where else they are seen or why not. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "crio.image.pause_command": "no feature: the infra process is the daemon's own program",
  "crio.image.pause_image_auth_file": "no feature; that a file which is not there is refused: reload_test.ts",
  "crio.runtime.apparmor_profile": "a kernel with AppArmor is needed; security/apparmor/profiles_test.ts: use()",
  "crio.runtime.blockio_config_file": "reload_test.ts, a step of its own",
  "crio.runtime.blockio_reload": "reload_test.ts, a step of its own",
  "crio.runtime.decryption_keys_path": "encrypted_images_test.ts",
  "crio.runtime.log_filter": "reload_test.ts, a step of its own",
  "crio.runtime.log_level": "reload_test.ts, a step of its own",
  // A handler is opened anew as a whole when any of its keys changes.
  container_create_timeout: "changed by each reload of reload_test.ts under load",
  exec_cpu_affinity: "part of the handler: annotations_test.ts",
  inherit_default_runtime: "completed from the host before the handler is opened: adapt_test.ts",
  monitor_cgroup: "part of the handler",
  monitor_exec_cgroup: "no monitor runs execs here",
  platform_runtime_paths: "part of the handler: annotations_test.ts",
  runtime_config_path: "for type vm",
  runtime_pull_image: "for type vm",
  runtime_root: "refused while pods have it: reload_test.ts",
  runtime_type: "only oci works",
  stream_websockets: "for type pod",
};

Deno.test("every option that is reloaded is flipped and observed, or says where", () => {
  const rows = new Set([...ROWS, ...HANDLER_ROWS].flatMap(({ options }) => options.split(" ")));
  const isSeen = (path: string, key: string): boolean =>
    path in ELSEWHERE || rows.has(path) || (path === `crio.runtime.${key}` && rows.has(key));
  const fixed = PLACES.filter(({ option, path }) => option.reload && !isSeen(path, option.key));
  const keys = Object.values(HANDLER).filter(({ key }) =>
    !(key in ELSEWHERE) && !rows.has(`runtimes.*.${key}`) && !rows.has(key)
  );
  deepStrictEqual([...fixed.map(({ path }) => path), ...keys.map(({ key }) => key)], []);
});
