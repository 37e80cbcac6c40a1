import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { AnnotationGate } from "../config/annotation_gate.ts";
import type { SeccompNotifiers } from "../security/seccomp/notifiers.ts";
import type { SelinuxLabels } from "../security/selinux/labels.ts";
import type { RecordStore } from "../state/record_store.ts";
import type { CdiSource } from "./cdi.ts";
import type { Confiner } from "./confinement.ts";
import type { ContainerExit, ContainerExits } from "./exits.ts";
import type { HookSource } from "./hooks.ts";
import type { SeccompArtifacts } from "./seccomp_artifact.ts";
import type { ImageVolumes } from "./volumes/image_volumes.ts";
import type { ResourceClasses } from "./resource_classes.ts";
import type { CpuTuning } from "./performance.ts";
import type { ReachableRoots } from "./volumes/reachable_roots.ts";
import type {
  CheckpointOffer,
  ContainerCgroups,
  ImageSource,
  NodeDefaults,
  RootfsStore,
  RuntimeTable,
} from "./ports.ts";
import type { ContainerPlugins } from "./plugins.ts";
import type { ContainerRecord, ProcessIdentity } from "./types.ts";
import type { UpdateHooks } from "./update.ts";

/** What the verbs of this folder work with. */
export interface ContainerDeps {
  readonly records: RecordStore<ContainerRecord>;
  readonly exits: ContainerExits;
  readonly images: ImageSource;
  readonly rootfs: RootfsStore;
  readonly runtimes: RuntimeTable;
  readonly checkpoints: CheckpointOffer;
  readonly cgroups: ContainerCgroups;
  readonly processes: Processes;
  readonly node: NodeDefaults;
  readonly confinement: Confiner;
  readonly hooks: HookSource;
  readonly reachable: Pick<ReachableRoots, "expose" | "remove" | "sweep">;
  /** Absent: annotations that name profiles mean nothing. */
  readonly seccompArtifacts?: SeccompArtifacts;
  readonly imageVolumes: Pick<ImageVolumes, "open" | "release" | "sweep">;
  /** Watches the filters of containers whose pod asks for it. */
  readonly seccompNotifiers?: Pick<SeccompNotifiers, "watch" | "close">;
  /** Absent: the node has no SELinux. */
  readonly selinux?: Pick<SelinuxLabels, "forContainer">;
  /** Which annotations of a container count. */
  readonly annotations: Pick<AnnotationGate, "forContainer" | "workloadOf">;
  /** Asked and told when a client changes limits. */
  readonly updateHooks?: UpdateHooks;
  readonly cdi: CdiSource;
  /** Absent: no annotation about classes counts. */
  readonly classes?: ResourceClasses;
  /** Tunes CPUs for containers that ask for it; absent: no annotation about that counts. */
  readonly performance?: Pick<CpuTuning, "plan" | "apply" | "watch" | "undo">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absent: nobody is asked or told. */
  readonly plugins?: ContainerPlugins;
  /** Gives the end that a container's monitor wrote down, if it did. */
  readonly readExit: (record: ContainerRecord) => Promise<ContainerExit | undefined>;
  /** Where monitors put exit files. */
  readonly exitsDirectory: string;
  /** Told of a repeated request for a container that is still being made, with the stage it is at. */
  readonly stalled?: (stage: string) => void;
  /** Told of each stage that an operation has left. */
  readonly staged?: (stage: string, elapsedMs: number) => void;
  /** Told of a container that runs and has lost its monitor, by its name. */
  readonly monitorLost?: (name: string) => void;
}

/** Processes by identity: a later process with the same pid is somebody else. */
export interface Processes {
  isAlive(process: ProcessIdentity): boolean;
  /** Sends a signal by number; false when the process is gone. */
  signal(process: ProcessIdentity, signal: number): boolean;
  /** Kills every process whose arguments name this id: monitors, runtimes and network plugins that a crash left. */
  killNaming(id: string): Promise<void>;
}
