import {
  type ContainerConfig,
  LinuxContainerResources,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  NamespaceMode,
  NamespaceOption,
  type PodSandboxConfig,
} from "../../../src/cri/gen/api.ts";
import { message } from "../harness/cri_client.ts";
import type { Lab } from "../harness/lab.ts";
import { SLEEPER } from "../harness/pods.ts";
import { execText, pidOf, PodUnderTest, procStatus } from "../harness/tries.ts";

/** One field of the CRI, and how it is shown that it has its effect: by the kernel, from outside of the daemon. */
export interface FieldCheck {
  /** `Message.field`, the field by the name that the generated code gives it. */
  readonly field: string;
  /** What is seen, for the table of the documentation. */
  readonly shows: string;
  /** Why it cannot be shown on this host; undefined where it can. */
  readonly skip?: (host: FieldHost) => string | undefined;
  /** Throws when the field has not had its effect. */
  readonly prove: (bench: FieldBench) => Promise<void>;
}

/** What checks ask of the host. */
export interface FieldHost {
  readonly apparmor: boolean;
  readonly selinux: boolean;
  readonly cgroup2: boolean;
  /** The runtimes find a hugetlb controller. */
  readonly hugetlb: boolean;
  readonly swapAccounting: boolean;
  readonly processors: number;
  /** Names of handlers that say in Status that they can. */
  readonly userNamespaces: string | undefined;
  readonly recursiveReadOnly: string | undefined;
}

export type ContainerSecurity = Partial<LinuxContainerSecurityContext>;

/** Short words for checks. Pods that were made with it go when it is disposed of. */
export class FieldBench implements AsyncDisposable {
  readonly #pods: PodUnderTest[] = [];
  #serial = 0;

  constructor(readonly lab: Lab, readonly host: FieldHost, private readonly runtimeHandler: string) {}

  /** A pod; its own PID namespace is not shared unless `change` says so. */
  async pod(
    change: (config: PodSandboxConfig) => void = () => {},
    runtimeHandler = this.runtimeHandler,
  ): Promise<PodUnderTest> {
    const pod = await PodUnderTest.run(this.lab, `field-${Date.now()}-${this.#serial++}`, { change, runtimeHandler });
    this.#pods.push(pod);
    return pod;
  }

  /** A container that sleeps in a pod of its own; gives its id. */
  async container(change: (config: ContainerConfig) => void, command: readonly string[] = SLEEPER): Promise<string> {
    return await (await this.pod()).start({ command, change });
  }

  async secured(fields: ContainerSecurity, command?: readonly string[]): Promise<string> {
    return await this.container(secured(fields), command);
  }

  async limited(fields: Partial<LinuxContainerResources>, command?: readonly string[]): Promise<string> {
    return await this.container(limited(fields), command);
  }

  /** A line of the init process's /proc/PID/status. */
  async status(id: string, name: string): Promise<string> {
    return (await procStatus(await pidOf(this.lab, id))).get(name) ?? "";
  }

  async exec(id: string, ...command: string[]): Promise<string> {
    return await execText(this.lab, id, ...command);
  }

  async shell(id: string, script: string): Promise<string> {
    return await execText(this.lab, id, "/bin/sh", "-c", script);
  }

  /** What /proc/PID/ns names. */
  async namespace(id: string, kind: string): Promise<string> {
    return await Deno.readLink(`/proc/${await pidOf(this.lab, id)}/ns/${kind}`);
  }

  /** A file of the container's cgroup: v1's controller and file, or v2's file. */
  async cgroup(id: string, v1: readonly [controller: string, file: string], v2: string): Promise<string> {
    const lines = (await Deno.readTextFile(`/proc/${await pidOf(this.lab, id)}/cgroup`)).split("\n");
    if (this.host.cgroup2) return await read(`/sys/fs/cgroup${pathOf(lines, "")}/${v2}`);
    const [controller, file] = v1;
    return await read(`/sys/fs/cgroup/${controller}${pathOf(lines, controller)}/${file}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of this.#pods.splice(0)) {
      await this.lab.daemon.client.call("removePodSandbox", { podSandboxId: id }).catch(() => undefined);
    }
  }
}

async function read(path: string): Promise<string> {
  return (await Deno.readTextFile(path)).trim();
}

function pathOf(lines: readonly string[], controller: string): string {
  for (const line of lines) {
    const [, controllers = "", ...path] = line.split(":");
    if (controllers.split(",").includes(controller)) return path.join(":");
  }
  throw new Error(`no cgroup of ${controller}`);
}

/** A container's request with these security settings. */
export function secured(fields: ContainerSecurity): (config: ContainerConfig) => void {
  return (config) => {
    const resources = config.linux?.resources;
    config.linux = { resources, securityContext: message(LinuxContainerSecurityContext, fields) };
  };
}

/** A container's request with these limits. */
export function limited(fields: Partial<LinuxContainerResources>): (config: ContainerConfig) => void {
  return (config) => {
    config.linux = { securityContext: undefined, resources: message(LinuxContainerResources, fields) };
  };
}

/** A pod's request with these security settings; its containers have PID namespaces of their own. */
export function securedPod(fields: Partial<LinuxSandboxSecurityContext>): (config: PodSandboxConfig) => void {
  return (config) => {
    const namespaceOptions = message(NamespaceOption, { pid: NamespaceMode.CONTAINER });
    if (config.linux === undefined) throw new Error("the harness's pods have a linux part");
    config.linux.securityContext = message(LinuxSandboxSecurityContext, { namespaceOptions, ...fields });
  };
}

/** Options of namespaces; what is not named is the pod's, but PID the container's own. */
export function namespaces(fields: Partial<NamespaceOption>): NamespaceOption {
  return message(NamespaceOption, { pid: NamespaceMode.CONTAINER, ...fields });
}
