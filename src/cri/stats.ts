import { mapInTurns } from "../base/turns.ts";
import type { ContainerStats as ContainerFigures } from "../container/stats.ts";
import type { ContainerRecord } from "../container/types.ts";
import type { SandboxStats as SandboxFigures } from "../sandbox/stats.ts";
import type { SandboxRecord } from "../sandbox/types.ts";
import { matchingContainers, requireContainer } from "./containers.ts";
import { containerAttributes, containerUsage, sandboxAttributes, sandboxUsage } from "./convert/stats.ts";
import { streamed } from "./encoded_items.ts";
import {
  ContainerStats,
  type ContainerStatsFilter,
  LinuxPodSandboxStats,
  PodSandboxStats,
  type PodSandboxStatsFilter,
} from "./gen/api.ts";
import type { ContainerOperations, SandboxOperations, StatsOperations } from "./operations.ts";
import { matchingSandboxes, requireSandbox } from "./sandboxes.ts";
import type { RuntimeHandlers } from "./server.ts";
import { EncodedResponse } from "./unary.ts";
import { concatenate, messageField } from "./wire.ts";

type StatsHandlers = Required<
  Pick<
    RuntimeHandlers,
    | "containerStats"
    | "listContainerStats"
    | "streamContainerStats"
    | "podSandboxStats"
    | "listPodSandboxStats"
    | "streamPodSandboxStats"
  >
>;

/** What the handlers work on. */
export interface StatsHandlerDeps {
  readonly sandboxes: SandboxOperations;
  readonly containers: ContainerOperations;
  readonly stats: StatsOperations;
}

/** The RPCs on figures. */
export function statsHandlers(deps: StatsHandlerDeps): StatsHandlers {
  const { containers, sandboxes, stats } = deps;
  const encoder = new StatsEncoder();
  const listContainers = (filter: ContainerStatsFilter | undefined, signal: AbortSignal): FiguresOf<ContainerFigures> =>
    stats.containers.list(matchingContainers(deps, filter && { ...filter, state: undefined }), { signal });
  const listSandboxes = (filter: PodSandboxStatsFilter | undefined, signal: AbortSignal): FiguresOf<SandboxFigures> =>
    stats.sandboxes.list(matchingSandboxes(sandboxes, filter && { ...filter, state: undefined }), { signal });
  // In all responses with figures, single ones too, they are field 1.
  const containerItems = (all: readonly ContainerFigures[]): Promise<Uint8Array[]> =>
    mapInTurns(all, (one) => messageField(1, encoder.container(one)));
  const sandboxItems = (all: readonly SandboxFigures[]): Promise<Uint8Array[]> =>
    mapInTurns(all, (one) => messageField(1, encoder.sandbox(one)));
  return {
    async containerStats(request, context): Promise<EncodedResponse> {
      const record = requireContainer(containers, request.containerId);
      return response(await containerItems([await stats.containers.get(record, context)]));
    },

    async listContainerStats(request, { signal }): Promise<EncodedResponse> {
      return response(await containerItems(await listContainers(request.filter, signal)));
    },

    async *streamContainerStats(request, { signal }): AsyncGenerator<EncodedResponse> {
      yield* streamed(await containerItems(await listContainers(request.filter, signal)));
    },

    async podSandboxStats(request, context): Promise<EncodedResponse> {
      const record = requireSandbox(sandboxes, request.podSandboxId);
      return response(await sandboxItems([await stats.sandboxes.get(record, context)]));
    },

    async listPodSandboxStats(request, { signal }): Promise<EncodedResponse> {
      return response(await sandboxItems(await listSandboxes(request.filter, signal)));
    },

    async *streamPodSandboxStats(request, { signal }): AsyncGenerator<EncodedResponse> {
      yield* streamed(await sandboxItems(await listSandboxes(request.filter, signal)));
    },
  };
}

type FiguresOf<Figures> = Promise<readonly Figures[]>;

function response(items: readonly Uint8Array[]): EncodedResponse {
  return new EncodedResponse(concatenate(items));
}

/** Fields of LinuxPodSandboxStats and PodSandboxStats. */
const CONTAINERS = 5;
const LINUX = 2;

const NO_USAGE = {
  cpu: undefined,
  memory: undefined,
  writableLayer: undefined,
  swap: undefined,
  io: undefined,
};

/** Encodes figures; names, labels and annotations, most of the bytes, once for each record. */
class StatsEncoder {
  readonly #containers = new WeakMap<ContainerRecord, Uint8Array>();
  readonly #sandboxes = new WeakMap<SandboxRecord, Uint8Array>();

  /** A ContainerStats message. */
  container(figures: ContainerFigures): Uint8Array {
    const attributes = known(
      this.#containers,
      figures.record,
      (record) => ContainerStats.encode({ attributes: containerAttributes(record), ...NO_USAGE }).finish(),
    );
    const usage = ContainerStats.encode({ attributes: undefined, ...containerUsage(figures) }).finish();
    return concatenate([attributes, usage]);
  }

  /** A PodSandboxStats message. */
  sandbox(figures: SandboxFigures): Uint8Array {
    const attributes = known(
      this.#sandboxes,
      figures.record,
      (record) =>
        PodSandboxStats.encode({ attributes: sandboxAttributes(record), linux: undefined, windows: undefined })
          .finish(),
    );
    const usage = LinuxPodSandboxStats.encode({ ...sandboxUsage(figures), containers: [] }).finish();
    const containers = figures.containers.map((one) => messageField(CONTAINERS, this.container(one)));
    return concatenate([attributes, messageField(LINUX, concatenate([usage, ...containers]))]);
  }
}

function known<Item extends object>(
  cache: WeakMap<Item, Uint8Array>,
  item: Item,
  encode: (item: Item) => Uint8Array,
): Uint8Array {
  const bytes = cache.get(item) ?? encode(item);
  cache.set(item, bytes);
  return bytes;
}
