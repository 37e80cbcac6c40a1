import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { FailedPreconditionError } from "../base/errors.ts";
import { mapInTurns } from "../base/turns.ts";
import { MAX_MESSAGE_BYTES } from "./frames.ts";
import { Container, type ContainerUpdate, PluginDefinition, PodSandbox, SynchronizeResponse } from "./gen/nri.ts";
import type { Plugin } from "./plugin.ts";

/** Left free in a message for the envelope. */
const SPARE_BYTES = 64 * 1024;
/** Fields of SynchronizeRequest. */
const PODS = 1;
const CONTAINERS = 2;
const MORE = 3;
/** Most that the tag and the length of an item take. */
const ITEM_HEAD_BYTES = 6;

/** All pods and containers that plugins are told of. */
export interface RuntimeState {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/**
 * Tells a plugin what there is, in as many messages as it takes.
 *
 * @returns the updates that the plugin wants
 * @throws CallStatus, PluginLost; FailedPreconditionError when the plugin cannot take several messages
 */
export async function synchronize(plugin: Plugin, state: RuntimeState): Promise<ContainerUpdate[]> {
  const requests = await encodeState(state);
  const { synchronizationTimeoutMs: timeoutMs } = plugin;
  for (const [i, request] of requests.entries()) {
    const answer = await plugin.callEncoded(PluginDefinition.methods.synchronize.name, request, { timeoutMs });
    const { update, more } = SynchronizeResponse.decode(answer);
    if (i === requests.length - 1) return update;
    if (more && update.length === 0) continue;
    throw new FailedPreconditionError(
      `plugin ${plugin.fullName} does not take the state of this node in several messages: build it with a newer NRI`,
    );
  }
  return [];
}

/**
 * The state as encoded SynchronizeRequests that are small enough; at least one. Written item by item, so that a node
 * with hundreds of containers does not keep everything else waiting.
 */
export async function encodeState(
  { pods, containers }: RuntimeState,
  options: { readonly maxBytes?: number } = {},
): Promise<Uint8Array[]> {
  const { maxBytes = MAX_MESSAGE_BYTES - SPARE_BYTES } = options;
  const items = [
    ...await mapInTurns(pods, (pod) => ({ field: PODS, bytes: PodSandbox.encode(pod).finish() })),
    ...await mapInTurns(
      containers,
      (container) => ({ field: CONTAINERS, bytes: Container.encode(container).finish() }),
    ),
  ];
  const requests: Uint8Array[] = [];
  let writer = new BinaryWriter();
  let sizeBytes = 0;
  for (const { field, bytes } of items) {
    const itemBytes = bytes.length + ITEM_HEAD_BYTES;
    if (sizeBytes > 0 && sizeBytes + itemBytes > maxBytes) {
      requests.push(writer.tag(MORE, WireType.Varint).uint32(1).finish());
      writer = new BinaryWriter();
      sizeBytes = 0;
    }
    writer.tag(field, WireType.LengthDelimited).bytes(bytes);
    sizeBytes += itemBytes;
  }
  return [...requests, writer.finish()];
}
