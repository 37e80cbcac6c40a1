import type { Confiner } from "../container/confinement.ts";
import { hostIdOf, type IdMap } from "../base/id_maps.ts";
import type { ProcessIdentity } from "../container/types.ts";
import { idMappings } from "../container/user_namespace.ts";
import type { ReachableRoots } from "../container/volumes/reachable_roots.ts";
import type { HandlerFeatures } from "../oci/runtime/handler_features.ts";
import { defaultMounts } from "../oci/spec/mounts.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import { infraAnnotations } from "./infra_annotations.ts";
import { pauseProgram } from "./pause_program.ts";
import type { InfraProcesses } from "./ports.ts";
import type { SandboxRecord } from "./types.ts";

/** What the infra process needs of an OCI runtime: it has no log, no exit code to keep, and so no monitor. */
export interface DetachedRuntime {
  readonly features: HandlerFeatures;
  /** Creates and starts a container without terminal or monitor. */
  runDetached(
    id: string,
    request: { readonly bundle: string },
    options: { readonly signal: AbortSignal },
  ): Promise<ProcessIdentity>;
  /** Kills and deletes it; succeeds when it is gone. */
  delete(id: string, options: { readonly signal: AbortSignal }): Promise<void>;
}

export interface InfraOptions {
  /** Root file system that all infra processes share, read-only; made here. */
  readonly rootDirectory: string;
  /** Shows the root to the root user of a pod's user namespace. */
  readonly reachable: Pick<ReachableRoots, "expose" | "remove">;
  readonly minOomScoreAdj: number;
  /** CPUs that infra processes may use; empty: those of their pod. */
  readonly cpuset: () => string;
  readonly runtimeOf: (handler: string) => DetachedRuntime;
  readonly cgroupsPath: (parent: string, id: string) => string;
  readonly removeCgroup: (parent: string, id: string) => Promise<void>;
  readonly isAlive: (process: ProcessIdentity) => boolean;
  /** How the process is confined: as its pod asks. */
  readonly confinement: Confiner;
}

const NOBODY = 65_535;

/** The last id that is mapped, where nobody is not. */
function nobody(maps: readonly IdMap[] | undefined): number {
  if (maps === undefined || hostIdOf(maps, NOBODY) !== undefined) return NOBODY;
  return Math.max(0, ...maps.map(({ containerId, length }) => containerId + length - 1).filter((id) => id < NOBODY));
}

const OOM_SCORE_ADJ = -998;
const CPU_SHARES = 2;
const DELETE_LIMIT_MS = 30_000;

/**
 * The processes that hold the PID namespaces of pods which share one. Each runs a program of this daemon's own (no
 * image, no network), as nobody, without capabilities, in a read-only root that has nothing else in it: a container of
 * the pod that may trace it gains nothing.
 */
export class PauseProcesses implements InfraProcesses {
  #ready: Promise<void> | undefined;

  constructor(private readonly options: InfraOptions) {}

  async start(record: SandboxRecord, options: { signal: AbortSignal }): Promise<ProcessIdentity> {
    await (this.#ready ??= this.#makeRoot());
    const { rootDirectory, reachable } = this.options;
    const { userMaps } = record;
    const root = userMaps === undefined ? rootDirectory : await reachable.expose(record.id, rootDirectory, userMaps);
    const bundle = `${record.runDirectory}/infra`;
    await Deno.mkdir(bundle, { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(`${bundle}/config.json`, JSON.stringify(await this.#confined(record, root)), {
      mode: 0o600,
    });
    return await this.options.runtimeOf(record.runtimeHandler).runDetached(record.id, { bundle }, options);
  }

  async remove(record: SandboxRecord): Promise<void> {
    if (record.spec.security.namespaces.pid.kind !== "pod") return;
    const signal = AbortSignal.timeout(DELETE_LIMIT_MS);
    await this.options.runtimeOf(record.runtimeHandler).delete(record.id, { signal });
    await this.options.reachable.remove(record.id);
    await this.options.removeCgroup(record.cgroupParent, record.id);
  }

  isAlive(process: ProcessIdentity): boolean {
    return this.options.isAlive(process);
  }

  async #makeRoot(): Promise<void> {
    const { rootDirectory } = this.options;
    // Mount points must be there: the root is read-only for the runtime as well.
    for (const directory of ["proc", "dev", "sys"]) {
      await Deno.mkdir(`${rootDirectory}/${directory}`, { recursive: true, mode: 0o755 });
    }
    await Deno.writeFile(`${rootDirectory}/pause.tmp`, pauseProgram(Deno.build.arch), { mode: 0o755 });
    await Deno.rename(`${rootDirectory}/pause.tmp`, `${rootDirectory}/pause`);
  }

  async #confined(record: SandboxRecord, root: string): Promise<OciSpec> {
    const { spec: { security }, runtimeHandler: handler } = record;
    const spec = this.#spec(record, root);
    const { seccomp, apparmorProfile } = await this.options.confinement.confine({
      security,
      handler,
      capabilities: [],
    });
    return {
      ...spec,
      process: { ...spec.process, ...(apparmorProfile === undefined ? {} : { apparmorProfile }) },
      linux: { ...spec.linux, ...(seccomp.profile === undefined ? {} : { seccomp: seccomp.profile }) },
    };
  }

  #spec(record: SandboxRecord, root: string): OciSpec {
    const { features } = this.options.runtimeOf(record.runtimeHandler);
    const { network, ipc, uts, user } = record.namespaces;
    const cpuset = this.options.cpuset();
    const mounts = defaultMounts({
      privileged: false,
      readonlySysfs: features.readonlySysfs,
      shmPath: record.shmPath,
      hostIpc: ipc === undefined,
    });
    return {
      ociVersion: features.ociVersion,
      process: {
        terminal: false,
        user: { uid: nobody(record.userMaps?.uidMaps), gid: nobody(record.userMaps?.gidMaps) },
        args: ["/pause"],
        env: [],
        cwd: "/",
        capabilities: { bounding: [], effective: [], permitted: [] },
        noNewPrivileges: true,
        oomScoreAdj: Math.max(OOM_SCORE_ADJ, this.options.minOomScoreAdj),
      },
      root: { path: root, readonly: true },
      mounts: mounts.filter(({ destination }) => destination === "/proc" || destination === "/dev"),
      annotations: infraAnnotations(record),
      linux: {
        ...idMappings(record, features),
        namespaces: [
          ...(user === undefined ? [] : [{ type: "user", path: user } as const]),
          { type: "pid" },
          { type: "mount" },
          ...(network === undefined ? [] : [{ type: "network", path: network } as const]),
          ...(ipc === undefined ? [] : [{ type: "ipc", path: ipc } as const]),
          ...(uts === undefined ? [] : [{ type: "uts", path: uts } as const]),
        ],
        cgroupsPath: this.options.cgroupsPath(record.cgroupParent, record.id),
        resources: { cpu: { shares: CPU_SHARES, ...(cpuset === "" ? {} : { cpus: cpuset }) } },
        maskedPaths: [],
        readonlyPaths: [],
      },
    };
  }
}
