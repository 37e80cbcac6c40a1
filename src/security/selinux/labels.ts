import type { SelinuxOptions } from "../choices.ts";
import { type ContainerContexts, readContainerContexts } from "./contexts.ts";
import { formatLabel, type Label, parseLabel, withOptions } from "./label.ts";
import { LevelPool } from "./levels.ts";

/** Labels as text; an empty one is not set. */
export interface PodLabels {
  readonly processLabel: string;
  readonly mountLabel: string;
}

export interface ContainerLabelRequest {
  readonly options: SelinuxOptions | undefined;
  readonly privileged: boolean;
  /** Namespaces that are the node's: a separation that those undo is left out. */
  readonly shares: { readonly network: boolean; readonly pid: boolean; readonly ipc: boolean };
  /** The command is an init system. */
  readonly isInit: boolean;
}

/** Runs without separation, by the policy. */
const SUPER_PRIVILEGED = "spc_t";

/** Decides the SELinux labels of pods and containers, and which levels are in use. */
export class SelinuxLabels {
  private constructor(
    private readonly contexts: ContainerContexts,
    private readonly options: { readonly hostNetworkIsUnseparated: boolean },
    private readonly levels: LevelPool = new LevelPool(),
  ) {}

  /** @param options.hostNetworkIsUnseparated `hostnetwork_disable_selinux` of crio.conf */
  static async open(
    options: { readonly hostNetworkIsUnseparated: boolean; readonly root?: string },
  ): Promise<SelinuxLabels> {
    return new SelinuxLabels(await readContainerContexts(options), options);
  }

  /**
   * The labels of a new pod, with a level of its own unless it asks for one. {@link release} gives the level back.
   *
   * @throws InvalidArgumentError for a part that is no name; ResourceExhaustedError
   */
  forPod(options: SelinuxOptions | undefined): PodLabels {
    const process = withOptions(this.contexts.process, options);
    const isOwn = (options?.level ?? "") === "";
    const level = isOwn ? this.levels.take() : process.level;
    if (!isOwn) this.levels.reserve(level);
    return {
      processLabel: formatLabel({ ...process, level }),
      mountLabel: formatLabel({ ...this.contexts.file, level }),
    };
  }

  /** Notes the level of a pod that was there before. */
  adopt({ processLabel }: PodLabels): void {
    this.levels.reserve(parseLabel(processLabel)?.level ?? "");
  }

  /** Gives the level of a pod that is gone back. */
  release({ processLabel }: PodLabels): void {
    this.levels.release(parseLabel(processLabel)?.level ?? "");
  }

  /** The labels of a container: its pod's with what it asks for itself. */
  forContainer(pod: PodLabels, request: ContainerLabelRequest): PodLabels {
    const { options, privileged, shares, isInit } = request;
    const inherited = parseLabel(pod.processLabel) ?? this.contexts.process;
    const process = withOptions(startLabel(inherited, { isInit, contexts: this.contexts }), options);
    if (shares.pid || shares.ipc) return { processLabel: "", mountLabel: "" };
    const unseparated = privileged || (shares.network && this.options.hostNetworkIsUnseparated);
    return {
      processLabel: unseparated ? "" : formatLabel(process),
      mountLabel: formatLabel({ ...this.contexts.file, level: process.level }),
    };
  }
}

/** An init system gets the type made for one, unless the pod asks for a type. */
function startLabel(
  inherited: Label,
  { isInit, contexts }: { readonly isInit: boolean; readonly contexts: ContainerContexts },
): Label {
  const isPlain = inherited.type === contexts.process.type;
  return isInit && isPlain ? { ...inherited, type: contexts.init.type } : inherited;
}

/** Whether volumes keep their labels: super-privileged containers may reach all of them as they are. */
export function keepsVolumeLabels(
  options: { readonly container: SelinuxOptions | undefined; readonly pod: SelinuxOptions | undefined },
): boolean {
  const type = options.container?.type || options.pod?.type;
  return type === SUPER_PRIVILEGED;
}
