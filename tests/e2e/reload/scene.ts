/**
 * A daemon whose configuration is reloaded, and short words for what is then seen of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type ContainerConfig,
  LinuxContainerSecurityContext,
  type PodSandboxConfig,
} from "../../../src/cri/gen/api.ts";
import { ServiceManager } from "../../fakes/notify_receiver.ts";
import { message } from "../harness/cri_client.ts";
import { Lab } from "../harness/lab.ts";
import { PodUnderTest, type Wish } from "../harness/tries.ts";

/** The parts of a runtime configuration that are looked at. */
export interface Spec {
  readonly root: { readonly readonly?: boolean };
  readonly process: {
    readonly env: readonly string[];
    readonly rlimits?: readonly { readonly type: string; readonly soft: number }[];
    readonly capabilities: { readonly bounding: readonly string[]; readonly inheritable?: readonly string[] };
  };
  readonly mounts: readonly { readonly destination: string; readonly source: string }[];
  readonly hooks?: Readonly<Record<string, readonly { readonly path: string }[]>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: {
    readonly devices?: readonly { readonly path: string; readonly uid?: number }[];
    readonly seccomp?: { readonly defaultAction: string };
    readonly resources: {
      readonly pids?: { readonly limit: number };
      readonly cpu?: { readonly shares?: number };
      readonly blockIO?: { readonly throttleReadBpsDevice?: readonly unknown[] };
    };
  };
}

/** What a row asks for. */
export interface Wishes {
  readonly runtimeHandler?: string;
  readonly pod?: (config: PodSandboxConfig) => void;
  readonly container?: (config: ContainerConfig) => void;
}

const DONE = /^READY=1\nSTATUS=Configuration/;

/** A lab whose service manager is the test. */
export class ReloadScene implements AsyncDisposable {
  #serial = 0;

  private constructor(readonly lab: Lab, private readonly manager: ServiceManager) {}

  /** @param environment variables of the daemon's */
  static async start(environment: Readonly<Record<string, string>> = {}): Promise<ReloadScene> {
    const manager = ServiceManager.listen(`@crio-reload-${Deno.pid}`);
    const lab = await Lab.start({
      environment: { NOTIFY_SOCKET: manager.socketName, ...environment },
      dropIn: (directory) =>
        `[crio.metrics]\nenable_metrics = true\nmetrics_port = 0\nmetrics_socket = "${directory}/metrics.sock"\n${
          handler(directory, "crun")
        }${handler(directory, "runc")}`,
    });
    await lab.pull();
    return new ReloadScene(lab, manager);
  }

  get directory(): string {
    return this.lab.directory;
  }

  /** Writes the last drop-in file and sends SIGHUP. @returns what the daemon then tells its service manager */
  async reload(text: string): Promise<string> {
    await Deno.writeTextFile(`${this.directory}/crio.conf.d/90-reload.conf`, text);
    return await this.hangUp();
  }

  async hangUp(): Promise<string> {
    const from = this.manager.messages.length;
    Deno.kill(this.lab.daemon.pid, "SIGHUP");
    const [, status = ""] = (await this.manager.next(DONE, { from })).split("\nSTATUS=");
    return status;
  }

  /** Tables of a handler with the usual things and these lines: a later file replaces a handler as a whole. */
  handler(name: string, lines = ""): string {
    return handler(this.directory, name, lines);
  }

  async inPod<T>(wishes: Wishes, use: (pod: PodUnderTest) => Promise<T>): Promise<T> {
    const { runtimeHandler = "", pod: change } = wishes;
    const options = { runtimeHandler, ...(change === undefined ? {} : { change }) };
    const pod = await PodUnderTest.run(this.lab, `reload-${this.#serial++}`, options);
    try {
      return await use(pod);
    } finally {
      await pod.remove();
    }
  }

  /** The runtime configuration of a fresh container in a fresh pod. */
  spec(wishes: Wishes = {}): Promise<Spec> {
    return this.inPod(wishes, async (pod) => {
      const wish: Wish = wishes.container === undefined ? {} : { change: wishes.container };
      const containerId = await pod.create(wish);
      const { info } = await this.lab.daemon.client.call("containerStatus", { containerId, verbose: true });
      return JSON.parse(info.get("info") ?? "{}").runtimeSpec;
    });
  }

  /** `created`, or why a container is refused. */
  async refusal(wishes: Wishes): Promise<string> {
    try {
      await this.spec(wishes);
      return "created";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async isPinned(image: string): Promise<boolean> {
    const { images } = await this.lab.daemon.client.call("listImages", {});
    const found = images.find(({ repoTags }) => repoTags.includes(image));
    assert.ok(found !== undefined, `${image} is listed`);
    return found.pinned;
  }

  /** The file of the daemon's log from a place on. */
  async logFrom(place: number): Promise<string> {
    return (await Deno.readTextFile(this.lab.daemon.logPath)).slice(place);
  }

  /** `GET` on a unix socket. */
  async get(path: string, url: string): Promise<string> {
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    return await (await fetch(url, { client })).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    this.manager[Symbol.dispose]();
  }
}

function handler(directory: string, name: string, lines = ""): string {
  const runtime = name === "crun" || name === "runc" ? name : "crun";
  return `[crio.runtime.runtimes.${name}]\nruntime_path = "${runtime}"\nruntime_root = "${directory}/${runtime}"
allowed_annotations = ["devices.crio.io", "io.kubernetes.cri.rdt-class"]\n${lines}\n`;
}

/** Sets the security context of a container. */
export function secured(fields: Partial<LinuxContainerSecurityContext>): (config: ContainerConfig) => void {
  return (config) => {
    if (config.linux !== undefined) config.linux.securityContext = message(LinuxContainerSecurityContext, fields);
  };
}
