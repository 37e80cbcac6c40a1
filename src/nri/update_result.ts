import { FailedPreconditionError } from "../base/errors.ts";
import { type ContainerUpdate, type Field, LinuxResources } from "./gen/nri.ts";
import { type Claim, mergeResources } from "./merge_resources.ts";
import { message } from "./message.ts";
import type { Owners } from "./owners.ts";

/** The container whose update the plugins are asked about. */
export interface RequestedUpdate {
  readonly containerId: string;
  /** As asked for; what plugins change of it is put in here, so that the next one sees it. */
  resources: LinuxResources;
}

/** Updates of existing containers that several plugins want, put together. */
export class UpdateResult {
  readonly #updates = new Map<string, ContainerUpdate>();

  /** @param options.creating id of the container that is being made, which cannot be updated yet */
  constructor(
    private readonly owners: Owners,
    private readonly options: { readonly creating?: string; readonly requested?: RequestedUpdate } = {},
  ) {}

  /** @throws PluginConflict, unless the update may fail; FailedPreconditionError */
  apply(updates: readonly ContainerUpdate[], plugin: string): void {
    for (const update of updates) {
      const { containerId, ignoreFailure } = update;
      if (containerId === this.options.creating) {
        throw new FailedPreconditionError(
          `NRI: plugin "${plugin}" wants to update container ${containerId}, which is being created: adjust it instead`,
        );
      }
      const collected = this.#collected(containerId, { ignoreFailure });
      try {
        this.#merge(collected, { update, plugin });
      } catch (error) {
        if (!ignoreFailure) throw error;
      }
    }
  }

  /** Updates of containers other than the one that was asked about. */
  others(): ContainerUpdate[] {
    const requested = this.options.requested?.containerId;
    return [...this.#updates.values()].filter(({ containerId }) => containerId !== requested);
  }

  #merge(collected: ContainerUpdate, { update, plugin }: { update: ContainerUpdate; plugin: string }): void {
    const wanted = update.linux?.resources;
    if (wanted === undefined) return;
    const { containerId } = update;
    const { requested } = this.options;
    const isRequested = requested?.containerId === containerId;
    const before = isRequested ? requested.resources : collected.linux?.resources;
    const merged = { ...before ?? message(LinuxResources) };
    const claim: Claim = (field: Field, entry) => {
      this.owners.claim(containerId, { field, plugin, ...(entry === undefined ? {} : { entry }) });
    };
    mergeResources(wanted, { targets: [merged], claim });
    collected.linux = { resources: merged };
    if (isRequested) requested.resources = merged;
  }

  #collected(containerId: string, { ignoreFailure }: { ignoreFailure: boolean }): ContainerUpdate {
    const present = this.#updates.get(containerId);
    if (present !== undefined) {
      present.ignoreFailure &&= ignoreFailure;
      return present;
    }
    const added = { containerId, linux: undefined, ignoreFailure };
    this.#updates.set(containerId, added);
    return added;
  }
}
