import type { ControlPlane } from "./control_plane.ts";
import { type Kubelet, KUBELET_READ_URL, NODE_NAME } from "./kubelet.ts";
import type { PodMetadata, PodSpec, PodView } from "./pod_types.ts";
import { until } from "./until.ts";

export const NAMESPACE = "default";

/** Where pods come from. Removing all of them is part of its end. */
export interface PodHost extends AsyncDisposable {
  add(name: string, spec: PodSpec, metadata: PodMetadata): Promise<void>;
  /** Undefined once it is gone from the API. */
  find(name: string): Promise<PodView | undefined>;
  /** Whether nothing of it runs any longer either. */
  isGone(name: string): Promise<boolean>;
  /** Asks for the end of a pod; does not wait. */
  remove(name: string, options?: { graceSeconds?: number }): Promise<void>;
  /** What the kubelet calls it. */
  fullName(name: string): string;
}

/** Pods as files that the kubelet reads. */
export class StaticPods implements PodHost {
  readonly #names = new Set<string>();

  /** @param running names of the pods of which anything runs, by the runtime */
  constructor(private readonly kubelet: Kubelet, private readonly running: () => Promise<ReadonlySet<string>>) {}

  async add(name: string, spec: PodSpec, metadata: PodMetadata): Promise<void> {
    this.#names.add(name);
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name, namespace: NAMESPACE, ...metadata }, spec };
    // Renamed, so that no half of it is read; a dot keeps the kubelet from the first name.
    const path = `${this.kubelet.manifestDirectory}/${name}.json`;
    const part = `${this.kubelet.manifestDirectory}/.${name}.part`;
    await Deno.writeTextFile(part, JSON.stringify(pod));
    await Deno.rename(part, path);
  }

  async find(name: string): Promise<PodView | undefined> {
    const response = await fetch(`${KUBELET_READ_URL}/pods`);
    const { items } = await response.json() as { items: PodView[] | null };
    return items?.find(({ metadata }) => metadata.name === this.fullName(name));
  }

  /** A static pod leaves the list at once, and ends behind that. */
  async isGone(name: string): Promise<boolean> {
    return await this.find(name) === undefined && !(await this.running()).has(this.fullName(name));
  }

  async remove(name: string): Promise<void> {
    this.#names.delete(name);
    await Deno.remove(`${this.kubelet.manifestDirectory}/${name}.json`).catch(() => {});
  }

  fullName(name: string): string {
    return `${name}-${NODE_NAME}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const names = [...this.#names];
    for (const name of names) await this.remove(name);
    for (const name of names) await gone(this, name).catch(() => {});
  }
}

/** Pods of an API server. */
export class ClusterPods implements PodHost {
  constructor(private readonly plane: ControlPlane) {}

  async add(name: string, spec: PodSpec, metadata: PodMetadata): Promise<void> {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name, namespace: NAMESPACE, ...metadata }, spec };
    await this.plane.send("POST", this.#path(), pod);
  }

  async find(name: string): Promise<PodView | undefined> {
    return await this.plane.find(this.#path(name));
  }

  async isGone(name: string): Promise<boolean> {
    return await this.find(name) === undefined;
  }

  async remove(name: string, options: { graceSeconds?: number } = {}): Promise<void> {
    const { graceSeconds } = options;
    const query = graceSeconds === undefined ? "" : `?gracePeriodSeconds=${graceSeconds}`;
    await this.plane.send("DELETE", `${this.#path(name)}${query}`);
  }

  fullName(name: string): string {
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const kind of ["deployments", "daemonsets", "replicasets"]) {
      await this.plane.send("DELETE", `/apis/apps/v1/namespaces/${NAMESPACE}/${kind}`).catch(() => {});
    }
    await this.plane.send("DELETE", `/apis/batch/v1/namespaces/${NAMESPACE}/jobs`).catch(() => {});
    await this.plane.send("DELETE", `${this.#path()}?gracePeriodSeconds=1`).catch(() => {});
    await until("the cluster to be empty", async () => {
      const { items } = await this.plane.find(this.#path());
      return items.length === 0 || undefined;
    }, { timeoutMs: 60_000 }).catch(() => {});
  }

  #path(name?: string): string {
    const pods = `/api/v1/namespaces/${NAMESPACE}/pods`;
    return name === undefined ? pods : `${pods}/${name}`;
  }
}

/** Waits until a pod is gone from the API. */
export async function gone(pods: PodHost, name: string): Promise<void> {
  const isGone = async (): Promise<true | undefined> => await pods.isGone(name) || undefined;
  await until(`pod ${name} to be gone`, isGone);
}
