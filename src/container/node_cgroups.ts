import type { ContainerId } from "../base/ids.ts";
import type { ResourceLimits } from "../base/resources.ts";
import {
  type CgroupDriver,
  containerCgroup,
  DEFAULT_PARENT,
  monitorCgroup,
  monitorHome,
  podCgroup,
  runtimeCgroupsPath,
} from "../cgroup/paths.ts";
import { finishLimits, holdLimits } from "../cgroup/limit_files.ts";
import { memoryUsageBytes, oomKills } from "../cgroup/memory.ts";
import type { CgroupTree } from "../cgroup/tree.ts";
import type { CgroupPlace, ContainerCgroups } from "./ports.ts";

/** A process tree that grows faster than it is moved is given up. */
const TAKE_OVER_LOOKS = 20;

/** The cgroups of containers and their monitors, by the node's cgroup driver. */
export class NodeCgroups implements ContainerCgroups {
  constructor(private readonly driver: CgroupDriver, private readonly tree: CgroupTree) {}

  /** The parent for a pod that asks for `requested`, checked. */
  parent(requested: string): string {
    const parent = requested === "" ? DEFAULT_PARENT[this.driver] : requested;
    podCgroup({ driver: this.driver, parent });
    return parent;
  }

  containerPath(parent: string, id: string): string {
    return runtimeCgroupsPath({ driver: this.driver, parent, id });
  }

  async killAll(parent: string, id: ContainerId): Promise<void> {
    await this.tree.kill(containerCgroup({ driver: this.driver, parent, id }));
  }

  async oomKills(parent: string, id: ContainerId): Promise<number | undefined> {
    return await oomKills(this.tree.layout, containerCgroup({ driver: this.driver, parent, id }));
  }

  async memoryUsageBytes(parent: string, id: ContainerId): Promise<number | undefined> {
    return await memoryUsageBytes(this.tree.layout, await this.#limited(parent, id));
  }

  async holdLimits(parent: string, id: ContainerId, limits: ResourceLimits): Promise<() => Promise<string[]>> {
    return await holdLimits(this.tree.layout, await this.#limited(parent, id), limits);
  }

  async finishLimits(parent: string, id: ContainerId, limits: ResourceLimits): Promise<void> {
    await finishLimits(this.tree.layout, await this.#limited(parent, id), limits);
  }

  /** Where a container's limits are: with systemd and cgroup v2 crun sets them in a cgroup of its own below the scope. */
  async #limited(parent: string, id: ContainerId): Promise<string> {
    const path = containerCgroup({ driver: this.driver, parent, id });
    const below = `${path}/container`;
    const isNested = this.driver === "systemd" && this.tree.layout.mode === "v2" && await this.tree.exists(below);
    return isNested ? below : path;
  }

  async mark(parent: string, id: string): Promise<void> {
    await this.tree.createAccount(containerCgroup({ driver: this.driver, parent, id }));
  }

  async unmark(parent: string, id: string): Promise<void> {
    await this.tree.removeAccount(containerCgroup({ driver: this.driver, parent, id }));
  }

  async takeOver(from: CgroupPlace, to: CgroupPlace): Promise<void> {
    const [source, target] = [from, to].map((place) => containerCgroup({ driver: this.driver, ...place }));
    if (source === undefined || target === undefined) return;
    // Processes that are made meanwhile are found by the next look.
    for (let look = 0; look < TAKE_OVER_LOOKS; look++) {
      const pids = await this.tree.processes(source);
      if (pids.length === 0) return;
      await Promise.all(pids.map((pid) => this.tree.addProcess(target, pid).catch(() => undefined)));
    }
  }

  async remove(parent: string, id: string): Promise<void> {
    const place = { driver: this.driver, parent, id };
    const monitor = monitorCgroup(place);
    const isOwn = monitorHome(place, this.tree.layout.mode) === monitor;
    await Promise.all([
      this.tree.removeLeftover(containerCgroup(place)),
      isOwn ? this.tree.removeAccount(monitor) : undefined,
    ]);
  }
}
