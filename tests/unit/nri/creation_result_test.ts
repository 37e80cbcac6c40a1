import assert from "node:assert/strict";
import { PluginConflict } from "../../../src/nri/errors.ts";
import { CreationResult } from "../../../src/nri/creation_result.ts";
import {
  Container,
  ContainerAdjustment,
  ContainerUpdate,
  CreateContainerResponse,
  Field,
  Hook,
  Hooks,
  LinuxContainer,
  LinuxContainerAdjustment,
  LinuxCPU,
  LinuxDevice,
  LinuxMemory,
  LinuxRdt,
  LinuxResources,
} from "../../../src/nri/gen/nri.ts";
import { message } from "../../../src/nri/message.ts";

const ID = "c1";

function container(fields: Partial<Container> = {}): Container {
  return message(Container, { id: ID, ...fields });
}

function adjusting(fields: Partial<ContainerAdjustment>): CreateContainerResponse {
  return message(CreateContainerResponse, { adjust: message(ContainerAdjustment, fields) });
}

function adjustingLinux(fields: Partial<LinuxContainerAdjustment>): CreateContainerResponse {
  return adjusting({ linux: message(LinuxContainerAdjustment, fields) });
}

function mount(
  destination: string,
  source = "/src",
): { destination: string; source: string; type: string; options: string[] } {
  return { destination, source, type: "bind", options: [] };
}

Deno.test("apply() lets the next plugin see what the ones before it changed", () => {
  const asked = container({ env: ["A=1", "B=2"], mounts: [mount("/old"), mount("/data")], args: ["sh"] });
  const result = new CreationResult(asked);
  result.apply(
    adjusting({
      env: [{ key: "A", value: "x" }, { key: "-B", value: "" }, { key: "C", value: "3" }],
      mounts: [mount("-/old"), mount("/data", "/other")],
      annotations: new Map([["k", "v"]]),
    }),
    "10-a",
  );
  assert.deepEqual(asked.env, ["A=x", "C=3"]);
  assert.deepEqual(asked.mounts, [mount("/data", "/other")]);
  assert.deepEqual([...asked.annotations], [["k", "v"]]);
  assert.deepEqual(result.adjustment.env.map(({ key }) => key), ["-B", "A", "C"]);
  assert.deepEqual(result.adjustment.mounts.map(({ destination }) => destination), ["-/old", "/data"]);
});

Deno.test("apply() refuses what two plugins set, and says who and what", () => {
  const cases: Array<[string, CreateContainerResponse]> = [
    ["Env A", adjusting({ env: [{ key: "A", value: "1" }] })],
    ["Mounts /m", adjusting({ mounts: [mount("/m")] })],
    ["Annotations k", adjusting({ annotations: new Map([["k", "v"]]) })],
    ["Args", adjusting({ args: ["x"] })],
    ["Rlimits RLIMIT_NOFILE", adjusting({ rlimits: [{ type: "RLIMIT_NOFILE", hard: 1n, soft: 1n }] })],
    ["CdiDevices v.com/c=d", adjusting({ CDIDevices: [{ name: "v.com/c=d" }] })],
    ["Devices /dev/x", adjustingLinux({ devices: [message(LinuxDevice, { path: "/dev/x" })] })],
    ["Namespace network", adjustingLinux({ namespaces: [{ type: "network", path: "" }] })],
    ["Sysctl net.x", adjustingLinux({ sysctl: new Map([["net.x", "1"]]) })],
    ["LinuxNetDevices eth0", adjustingLinux({ netDevices: new Map([["eth0", { name: "n" }]]) })],
    ["CgroupsPath", adjustingLinux({ cgroupsPath: "/x" })],
    ["OomScoreAdj", adjustingLinux({ oomScoreAdj: { value: 1n } })],
    ["RdtClosID", adjustingLinux({ rdt: message(LinuxRdt, { closId: { value: "c" } }) })],
    [
      "MemLimit",
      adjustingLinux({
        resources: message(LinuxResources, { memory: message(LinuxMemory, { limit: { value: 1n } }) }),
      }),
    ],
    [
      "CPUSetCPUs",
      adjustingLinux({ resources: message(LinuxResources, { cpu: message(LinuxCPU, { cpus: "0" }) }) }),
    ],
    [
      "CgroupsUnified memory.high",
      adjustingLinux({ resources: message(LinuxResources, { unified: new Map([["memory.high", "1"]]) }) }),
    ],
    ["PidsLimit", adjustingLinux({ resources: message(LinuxResources, { pids: { limit: 5n } }) })],
  ];
  for (const [what, answer] of cases) {
    const result = new CreationResult(container());
    result.apply(answer, "10-a");
    assert.throws(() => result.apply(answer, "20-b"), (error: Error) => {
      assert.ok(error instanceof PluginConflict);
      assert.equal(error.message, `NRI: plugins "10-a" and "20-b" both set ${what}`);
      return true;
    });
  }
});

Deno.test("apply() lets a plugin set what it took away from another one, and nobody after it", () => {
  const result = new CreationResult(container());
  const set = (value: string): CreateContainerResponse =>
    adjusting({
      env: [{ key: "-A", value: "" }, { key: "A", value }],
      mounts: [mount("-/m"), mount("/m", `/${value}`)],
    });
  result.apply(adjusting({ env: [{ key: "A", value: "1" }], mounts: [mount("/m")] }), "10-a");
  result.apply(set("2"), "20-b");
  assert.deepEqual(result.adjustment.env, [{ key: "A", value: "2" }]);
  assert.deepEqual(result.adjustment.mounts, [mount("/m", "/2")]);
  assert.throws(() => result.apply(adjusting({ env: [{ key: "A", value: "3" }] }), "30-c"), PluginConflict);
  result.apply(adjusting({ env: [{ key: "-A", value: "" }] }), "30-c");
  assert.deepEqual(result.adjustment.env, [{ key: "-A", value: "" }]);
});

Deno.test("apply() replaces arguments of another plugin only when asked to", () => {
  const asked = container({ args: ["sh"] });
  const result = new CreationResult(asked);
  result.apply(adjusting({ args: ["a"] }), "10-a");
  result.apply(adjusting({ args: ["", "b", "c"] }), "20-b");
  assert.deepEqual(asked.args, ["b", "c"]);
  assert.deepEqual(result.adjustment.args, ["b", "c"]);
});

Deno.test("apply() adds up hooks of all plugins", () => {
  const result = new CreationResult(container());
  const hooks = message(Hooks, { prestart: [message(Hook, { path: "/h" })] });
  result.apply(adjusting({ hooks }), "10-a");
  result.apply(adjusting({ hooks }), "20-b");
  assert.equal(result.adjustment.hooks.prestart.length, 2);
  assert.equal(result.owners.message().owners.get(ID)?.simple.get(Field.OciHooks), "10-a,20-b");
});

Deno.test("apply() keeps what earlier resources say beside what a plugin sets", () => {
  const before = message(LinuxResources, { cpu: message(LinuxCPU, { shares: { value: 5n }, cpus: "0-1" }) });
  const asked = container({ linux: message(LinuxContainer, { resources: before }) });
  const result = new CreationResult(asked);
  const cpu = message(LinuxCPU, { cpus: "1" });
  result.apply(adjustingLinux({ resources: message(LinuxResources, { cpu }) }), "10-a");
  assert.deepEqual(asked.linux?.resources?.cpu?.shares, { value: 5n });
  assert.equal(asked.linux?.resources?.cpu?.cpus, "1");
  assert.equal(result.adjustment.linux.resources?.cpu?.shares, undefined);
});

Deno.test("apply() collects updates of other containers, not of the one that is being made", () => {
  const result = new CreationResult(container());
  const update = (containerId: string, cpus: string): ContainerUpdate =>
    message(ContainerUpdate, {
      containerId,
      linux: { resources: message(LinuxResources, { cpu: message(LinuxCPU, { cpus }) }) },
    });
  result.apply(message(CreateContainerResponse, { update: [update("other", "0")] }), "10-a");
  result.apply(message(CreateContainerResponse, { update: [update("third", "1")] }), "20-b");
  assert.deepEqual(result.updates.others().map(({ containerId }) => containerId), ["other", "third"]);
  assert.throws(
    () => result.apply(message(CreateContainerResponse, { update: [update(ID, "1")] }), "20-b"),
    /adjust it/,
  );
  const again = { ...update("other", "1"), ignoreFailure: true };
  result.apply(message(CreateContainerResponse, { update: [again] }), "30-c");
  assert.equal(result.updates.others()[0]?.linux?.resources?.cpu?.cpus, "0");
  assert.throws(
    () => result.apply(message(CreateContainerResponse, { update: [update("other", "1")] }), "30-c"),
    PluginConflict,
  );
});
