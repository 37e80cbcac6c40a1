import assert from "node:assert/strict";
import { IDMapping, NamespaceMode, type NamespaceOption, UserNamespace } from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import { pidOf } from "../harness/tries.ts";
import { type FieldBench, type FieldCheck, namespaces, secured, securedPod } from "./check.ts";

const HOST_ID = 2_000_000;
const LENGTH = 65_536;

const withoutRuntime: NonNullable<FieldCheck["skip"]> = ({ userNamespaces }) =>
  userNamespaces === undefined ? "no runtime handler here offers user namespaces" : undefined;

function mapping(fields: Partial<IDMapping> = {}): IDMapping {
  return message(IDMapping, { hostId: HOST_ID, containerId: 0, length: LENGTH, ...fields });
}

function mapped(fields: Partial<UserNamespace> = {}): NamespaceOption {
  const own = { mode: NamespaceMode.POD, uids: [mapping()], gids: [mapping()], ...fields };
  return namespaces({ usernsOptions: message(UserNamespace, own) });
}

/** The map of a container's init process, its blanks folded. */
async function mapOf(bench: FieldBench, options: NamespaceOption, kind: "uid" | "gid"): Promise<string> {
  const pod = await bench.pod(securedPod({ namespaceOptions: options }), bench.host.userNamespaces);
  const id = await pod.start({ change: secured({ namespaceOptions: options }) });
  const text = await Deno.readTextFile(`/proc/${await pidOf(bench.lab, id)}/${kind}_map`);
  return text.trim().replaceAll(/\s+/g, " ");
}

function check(field: string, shows: string, prove: (bench: FieldBench) => Promise<void>): FieldCheck {
  return { field, shows, skip: withoutRuntime, prove };
}

const MAP = `0 ${HOST_ID} ${LENGTH}`;

export const USER_NAMESPACE_FIELDS: readonly FieldCheck[] = [
  check("NamespaceOption.usernsOptions", "the process's uid_map is the requested one", async (bench) => {
    assert.equal(await mapOf(bench, mapped(), "uid"), MAP);
  }),
  check("UserNamespace.mode", "NODE with maps is refused, POD with them is not", async (bench) => {
    await assert.rejects(mapOf(bench, mapped({ mode: NamespaceMode.NODE }), "uid"));
    assert.equal(await mapOf(bench, mapped(), "uid"), MAP);
  }),
  check("UserNamespace.uids", "the process's uid_map", async (bench) => {
    assert.equal(await mapOf(bench, mapped(), "uid"), MAP);
  }),
  check("UserNamespace.gids", "the process's gid_map", async (bench) => {
    assert.equal(await mapOf(bench, mapped(), "gid"), MAP);
  }),
  check("IDMapping.hostId", "the second column of uid_map", async (bench) => {
    assert.equal(await mapOf(bench, mapped(), "uid"), MAP);
  }),
  check("IDMapping.length", "the third column of uid_map", async (bench) => {
    assert.equal(await mapOf(bench, mapped(), "uid"), MAP);
  }),
];
