import assert from "node:assert/strict";
import { isRuntimeFailure, RuntimeError, runtimeMessage } from "../../../../src/oci/runtime/errors.ts";

const fail = (stderr: string): RuntimeError =>
  new RuntimeError({ runtime: "crun", command: "create", containerId: "c1", stderr, ending: "exit code 1" });

Deno.test("runtimeMessage() reads plain lines, logrus text and JSON, and leaves warnings out", () => {
  assert.equal(runtimeMessage("chdir `/x`: No such file or directory\n"), "chdir `/x`: No such file or directory");
  const logrus = 'time="2026-11-23T20:00:00Z" level=warning msg="careful"\n' +
    'time="2026-11-23T20:00:01Z" level=error msg="exec: \\"nosuch\\": executable file not found in $PATH"\n';
  assert.equal(runtimeMessage(logrus), 'exec: "nosuch": executable file not found in $PATH');
  assert.equal(runtimeMessage('{"msg":"a","level":"error"}\n{"msg":"b","level":"info"}\n{"msg":"a"}\n'), "a");
  assert.equal(runtimeMessage("{not json\n"), "{not json");
});

Deno.test("RuntimeError classifies what runtimes say", () => {
  const table: ReadonlyArray<readonly [string, RuntimeError["failure"], RuntimeError["kind"]]> = [
    ["cgroups in hybrid mode not supported, drop all", "hybrid_cgroups", "failed_precondition"],
    ["executable file `x` not found in $PATH: No such file or directory", "executable_not_found", "invalid_argument"],
    ['exec: "/etc": stat /etc: no such file or directory', "executable_not_found", "invalid_argument"],
    ['container "abc" does not exist', "container_not_found", "not_found"],
    ["error opening file `/run/crun/x/status`: No such file or directory", "container_not_found", "not_found"],
    ["container not running", "not_running", "failed_precondition"],
    ["can't get final child's PID from pipe: EOF", "oom_score_adj", "internal"],
    ["write to `/proc/self/oom_score_adj`: Permission denied", "oom_score_adj", "internal"],
    ["mount `proc` to `proc`: Operation not permitted", "not_permitted", "permission_denied"],
    ["something new", "other", "internal"],
  ];
  for (const [text, failure, kind] of table) {
    assert.deepEqual([fail(text).failure, fail(text).kind], [failure, kind], text);
  }
  assert.ok(isRuntimeFailure(fail("container not running"), "not_running"));
  assert.ok(!isRuntimeFailure(new Error("container not running"), "not_running"));
});

Deno.test("RuntimeError says what, on what, and what to do", () => {
  assert.match(fail("cgroups in hybrid mode not supported").message, /^crun create of container c1: .* runc\)$/);
  assert.equal(fail("").message, "crun create of container c1: exit code 1");
});
