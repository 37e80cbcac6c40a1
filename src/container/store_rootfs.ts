import { type ContainerId, parseImageId } from "../base/ids.ts";
import type { Store } from "../storage/store.ts";
import type { LayerDirectories, RootfsStore } from "./ports.ts";

const REMOVE_LIMIT_MS = 60_000;

/** Writable file systems of containers in the shared store. */
export class StoreRootfs implements RootfsStore {
  constructor(private readonly store: Store) {}

  places(id: ContainerId): { directory: string; runDirectory: string } {
    return { directory: this.store.containerDirectory(id), runDirectory: this.store.containerRunDirectory(id) };
  }

  async create(
    container: Parameters<RootfsStore["create"]>[0],
    options: { signal?: AbortSignal },
  ): Promise<void> {
    const { name, labels, ...rest } = container;
    await this.store.createContainer({ names: [name], ...rest, ...labels }, options);
  }

  mount(id: ContainerId, options: { userNamespace?: string }): Promise<string> {
    return this.store.mountContainer(id, options);
  }

  mountPoint(id: ContainerId): Promise<string> {
    return this.store.mountPoint(id);
  }

  async layers(id: ContainerId): Promise<LayerDirectories> {
    return await this.store.layerDirectories(id);
  }

  async withImage(imageId: string, use: (root: string) => Promise<void>): Promise<void> {
    const id = parseImageId(imageId);
    const root = await this.store.mountImage(id);
    try {
      await use(root);
    } finally {
      await this.store.unmountImage(id);
    }
  }

  async remove(id: ContainerId): Promise<void> {
    await this.store.deleteContainer(id, { signal: AbortSignal.timeout(REMOVE_LIMIT_MS) });
  }
}
