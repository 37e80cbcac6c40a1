/** The parts of the Kubernetes API (core/v1) that the checks write and read. */

export type Fields = Readonly<Record<string, unknown>>;

/** A container as a pod's author writes it. */
export interface ContainerFields extends Fields {
  readonly name: string;
}

/** A pod's spec as its author writes it. */
export interface PodSpec extends Fields {
  readonly containers: readonly ContainerFields[];
}

export interface PodMetadata {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Terminated {
  readonly exitCode: number;
  readonly signal?: number;
  readonly reason: string;
  readonly message?: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly containerID: string;
}

export interface ContainerStateView {
  readonly waiting?: { readonly reason: string; readonly message?: string };
  readonly running?: { readonly startedAt: string };
  readonly terminated?: Terminated;
}

export interface ContainerView {
  readonly name: string;
  readonly ready: boolean;
  readonly started?: boolean;
  readonly restartCount: number;
  readonly image: string;
  readonly imageID: string;
  readonly containerID?: string;
  readonly state: ContainerStateView;
  readonly lastState: ContainerStateView;
  readonly resources?: Fields;
  readonly allocatedResources?: Fields;
  readonly user?: { readonly linux?: { uid: number; gid: number; supplementalGroups?: number[] } };
  readonly volumeMounts?: readonly { readonly name: string; readonly recursiveReadOnly?: string }[];
  readonly stopSignal?: string;
}

/** A pod as the kubelet or the API server shows it. */
export interface PodView {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly deletionTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: PodSpec;
  readonly status: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly hostIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason?: string }[];
    readonly containerStatuses?: readonly ContainerView[];
    readonly initContainerStatuses?: readonly ContainerView[];
    readonly ephemeralContainerStatuses?: readonly ContainerView[];
  };
}
