import assert from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { podSysctls } from "../../../src/sandbox/sysctls.ts";

function chosen(kinds: readonly string[]): { sysctls: Record<string, string>; warnings: string[] } {
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (message: string): void => void warnings.push(message) };
  const defaults = { "net.ipv4.ping_group_range": "0 1", "kernel.shmmax": "1", "kernel.panic": "1" };
  const requested = { "kernel.shmmax": "2", "net/core/somaxconn": "3", "vm.swappiness": "4" };
  const sysctls = podSysctls({ defaults, requested }, { id: "pod", kinds, log });
  return { sysctls, warnings };
}

Deno.test("podSysctls() lets a pod's own beat the node's defaults, and drops defaults of the node alone", () => {
  const { sysctls, warnings } = chosen(["network", "ipc", "uts"]);
  assert.deepEqual(sysctls, {
    "net.ipv4.ping_group_range": "0 1",
    "kernel.shmmax": "2",
    "net/core/somaxconn": "3",
    // Refused where it is set.
    "vm.swappiness": "4",
  });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /kernel\.panic/);
});

Deno.test("podSysctls() leaves out, with a warning, what belongs to a namespace of the node", () => {
  const { sysctls, warnings } = chosen(["ipc"]);
  assert.deepEqual(sysctls, { "kernel.shmmax": "2", "vm.swappiness": "4" });
  assert.equal(warnings.length, 3);
});
