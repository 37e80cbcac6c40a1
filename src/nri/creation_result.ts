import {
  type Container,
  ContainerAdjustment,
  type ContainerEviction,
  type CreateContainerResponse,
  Field,
  Hooks,
  type KeyValue,
  LinuxContainer,
  LinuxContainerAdjustment,
  LinuxRdt,
  LinuxResources,
} from "./gen/nri.ts";
import { mergeMaps, mergeNamed, type NamedField } from "./merge_named.ts";
import { mergeResources } from "./merge_resources.ts";
import { message } from "./message.ts";
import { Owners } from "./owners.ts";
import { UpdateResult } from "./update_result.ts";

type Ownership = Omit<NamedField<never>, "nameOf">;

/**
 * What the plugins make of a container that is being created. Each answer is merged into the adjustment, and into the
 * container as the next plugin sees it.
 */
export class CreationResult {
  readonly owners = new Owners();
  readonly evictions: ContainerEviction[] = [];
  readonly updates: UpdateResult;
  /** For the container's runtime specification. */
  readonly adjustment: ContainerAdjustment & { linux: LinuxContainerAdjustment; hooks: Hooks };
  readonly #container: Container & { linux: LinuxContainer; hooks: Hooks };

  /** @param container what is asked for; {@link apply} changes it */
  constructor(container: Container) {
    this.updates = new UpdateResult(this.owners, { creating: container.id });
    this.adjustment = {
      ...message(ContainerAdjustment),
      hooks: message(Hooks),
      linux: message(LinuxContainerAdjustment, { resources: message(LinuxResources) }),
    };
    const { hooks = message(Hooks), linux = message(LinuxContainer) } = container;
    this.#container = Object.assign(container, { hooks, linux });
    this.#container.linux.resources ??= message(LinuxResources);
  }

  /**
   * Takes over what one plugin answered.
   *
   * @throws PluginConflict when another plugin has set the same; FailedPreconditionError
   */
  apply({ adjust, update, evict }: CreateContainerResponse, plugin: string): void {
    if (adjust !== undefined) {
      this.#adjust(adjust, plugin);
      if (adjust.linux !== undefined) this.#adjustLinux(adjust.linux, plugin);
    }
    this.updates.apply(update, plugin);
    this.evictions.push(...evict);
  }

  #adjust(wanted: ContainerAdjustment, plugin: string): void {
    const { adjustment } = this;
    const container = this.#container;
    const annotations = mergeMaps(wanted.annotations, {
      adjusted: adjustment.annotations,
      present: container.annotations,
    }, this.#ownership(Field.Annotations, plugin));
    adjustment.annotations = annotations.adjusted;
    container.annotations = annotations.present;

    const mounts = mergeNamed(wanted.mounts, { adjusted: adjustment.mounts, present: container.mounts }, {
      ...this.#ownership(Field.Mounts, plugin),
      nameOf: ({ destination }) => destination,
    });
    adjustment.mounts = mounts.adjusted;
    container.mounts = mounts.present;

    const env = mergeNamed(wanted.env, { adjusted: adjustment.env, present: container.env.map(toKeyValue) }, {
      ...this.#ownership(Field.Env, plugin),
      nameOf: ({ key }) => key,
    });
    adjustment.env = env.adjusted;
    container.env = env.present.map(({ key, value }) => `${key}=${value}`);

    this.#adjustArgs(wanted.args, plugin);
    if (wanted.hooks !== undefined) this.#adjustHooks(wanted.hooks, plugin);
    for (const limit of wanted.rlimits) {
      this.#claim(plugin, Field.Rlimits, limit.type);
      adjustment.rlimits.push(limit);
      container.rlimits = [...container.rlimits.filter(({ type }) => type !== limit.type), limit];
    }
    for (const device of wanted.CDIDevices) {
      this.#claim(plugin, Field.CdiDevices, device.name);
      adjustment.CDIDevices.push(device);
    }
  }

  /** An empty first argument says that those which another plugin has set may be replaced. */
  #adjustArgs(wanted: readonly string[], plugin: string): void {
    if (wanted.length === 0) return;
    const replaces = wanted[0] === "";
    if (replaces) this.owners.clear(this.#container.id, { field: Field.Args, plugin });
    this.#claim(plugin, Field.Args);
    this.adjustment.args = wanted.slice(replaces ? 1 : 0);
    this.#container.args = this.adjustment.args;
  }

  #adjustHooks(wanted: Hooks, plugin: string): void {
    const stages = Object.keys(wanted) as Array<keyof Hooks>;
    for (const stage of stages) {
      this.adjustment.hooks[stage].push(...wanted[stage]);
      this.#container.hooks[stage].push(...wanted[stage]);
    }
    if (stages.every((stage) => wanted[stage].length === 0)) return;
    this.owners.share(this.#container.id, { field: Field.OciHooks, plugin });
  }

  #adjustLinux(wanted: LinuxContainerAdjustment, plugin: string): void {
    const adjusted = this.adjustment.linux;
    const { linux } = this.#container;
    const devices = mergeNamed(wanted.devices, { adjusted: adjusted.devices, present: linux.devices }, {
      ...this.#ownership(Field.Devices, plugin),
      nameOf: ({ path }) => path,
    });
    adjusted.devices = devices.adjusted;
    linux.devices = devices.present;

    const { claim } = this.#ownership(Field.Namespace, plugin);
    // Taking a namespace away is a choice of its own: it makes the plugin the owner.
    const spaces = mergeNamed(wanted.namespaces, { adjusted: adjusted.namespaces, present: linux.namespaces }, {
      claim,
      clear: claim,
      nameOf: ({ type }) => type,
    });
    adjusted.namespaces = spaces.adjusted;
    linux.namespaces = spaces.present;

    const sysctl = mergeMaps(wanted.sysctl, {
      adjusted: adjusted.sysctl,
      present: linux.sysctl,
    }, this.#ownership(Field.Sysctl, plugin));
    adjusted.sysctl = sysctl.adjusted;
    linux.sysctl = sysctl.present;

    const net = mergeMaps(wanted.netDevices, {
      adjusted: adjusted.netDevices,
      present: linux.netDevices,
    }, this.#ownership(Field.LinuxNetDevices, plugin));
    adjusted.netDevices = net.adjusted;
    linux.netDevices = net.present;

    const { resources } = wanted;
    if (resources !== undefined) {
      mergeResources(resources, {
        targets: [adjusted.resources, linux.resources].filter((target) => target !== undefined),
        claim: (field, entry) => this.#claim(plugin, field, entry),
      });
    }
    this.#adjustSingles(wanted, plugin);
    if (wanted.rdt !== undefined) this.#adjustRdt(wanted.rdt, plugin);
  }

  #adjustSingles(wanted: LinuxContainerAdjustment, plugin: string): void {
    const adjusted = this.adjustment.linux;
    const { linux } = this.#container;
    const { cgroupsPath, oomScoreAdj, ioPriority, seccompPolicy, scheduler, memoryPolicy } = wanted;
    if (cgroupsPath !== "") {
      this.#claim(plugin, Field.CgroupsPath);
      adjusted.cgroupsPath = linux.cgroupsPath = cgroupsPath;
    }
    if (oomScoreAdj !== undefined) {
      this.#claim(plugin, Field.OomScoreAdj);
      adjusted.oomScoreAdj = linux.oomScoreAdj = oomScoreAdj;
    }
    if (ioPriority !== undefined) {
      this.#claim(plugin, Field.IoPriority);
      adjusted.ioPriority = linux.ioPriority = ioPriority;
    }
    if (seccompPolicy !== undefined) {
      this.#claim(plugin, Field.SeccompPolicy);
      adjusted.seccompPolicy = linux.seccompPolicy = seccompPolicy;
    }
    if (scheduler !== undefined) {
      this.#claim(plugin, Field.LinuxSched);
      adjusted.scheduler = linux.scheduler = scheduler;
    }
    if (memoryPolicy !== undefined) {
      this.#claim(plugin, Field.MemoryPolicy);
      adjusted.memoryPolicy = memoryPolicy;
    }
  }

  #adjustRdt(wanted: LinuxRdt, plugin: string): void {
    const { linux } = this.adjustment;
    const { closId, schemata, enableMonitoring } = wanted;
    if (wanted.remove) {
      for (const field of [Field.RdtClosID, Field.RdtSchemata, Field.RdtEnableMonitoring]) {
        this.owners.clear(this.#container.id, { field, plugin });
      }
      linux.rdt = message(LinuxRdt, { remove: true });
    }
    linux.rdt ??= message(LinuxRdt);
    if (closId !== undefined) {
      this.#claim(plugin, Field.RdtClosID);
      linux.rdt = { ...linux.rdt, closId, remove: false };
    }
    if (schemata !== undefined) {
      this.#claim(plugin, Field.RdtSchemata);
      linux.rdt = { ...linux.rdt, schemata, remove: false };
    }
    if (enableMonitoring !== undefined) {
      this.#claim(plugin, Field.RdtEnableMonitoring);
      linux.rdt = { ...linux.rdt, enableMonitoring, remove: false };
    }
    this.#container.linux.rdt = linux.rdt;
  }

  #claim(plugin: string, field: Field, entry?: string): void {
    this.owners.claim(this.#container.id, { field, plugin, ...(entry === undefined ? {} : { entry }) });
  }

  #ownership(field: Field, plugin: string): Ownership {
    const { id } = this.#container;
    return {
      claim: (entry) => this.owners.claim(id, { field, entry, plugin }),
      clear: (entry) => this.owners.clear(id, { field, entry, plugin }),
    };
  }
}

function toKeyValue(line: string): KeyValue {
  const [key = ""] = line.split("=", 1);
  return { key, value: line.slice(key.length + 1) };
}
