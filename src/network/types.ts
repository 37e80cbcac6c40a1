/** A JSON object as parsed: configuration and results travel through the plugins unchanged, unknown keys included. */
export type JsonObject = { readonly [key: string]: unknown };

/** The plugin commands of the CNI specification. */
export type CniCommand = "ADD" | "DEL" | "CHECK" | "STATUS" | "GC";

/** One plugin of a network: what we read of its configuration, and all of it. */
export interface PluginConfig {
  /** File name of the plugin. */
  readonly type: string;
  /** Capabilities that it wants to be told at run time. */
  readonly capabilities: readonly string[];
  readonly raw: JsonObject;
}

/** A network configuration list; a file with one plugin becomes a list of one. */
export interface NetworkConfig {
  readonly name: string;
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  readonly plugins: readonly PluginConfig[];
  /** The whole list as it goes into the result cache. */
  readonly raw: JsonObject;
  /** File that it came from. */
  readonly source: string;
}

/** Which interface of which container a plugin is asked about. */
export interface Attachment {
  readonly containerId: string;
  /** Path of the network namespace; empty: it is gone. */
  readonly netns: string;
  readonly ifName: string;
  readonly cniArgs: ReadonlyArray<readonly [name: string, value: string]>;
  /** Capability name -> value, for the plugins that declare it. */
  readonly capabilityArgs: JsonObject;
}

export interface CniAddress {
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interfaceIndex?: number;
}

export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  /** Namespace path; absent: an interface of the node. */
  readonly sandbox?: string;
  readonly mtu?: number;
}

/** What an ADD gave, as plain data, whatever version the plugin speaks. */
export interface CniResult {
  readonly cniVersion: string;
  readonly addresses: readonly CniAddress[];
  readonly interfaces: readonly CniInterface[];
  readonly routes: ReadonlyArray<{ readonly destination: string; readonly gateway?: string }>;
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly domain?: string;
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
  /** As the last plugin printed it. */
  readonly raw: JsonObject;
}

/** The network's view of a pod. */
export interface PodIdentity {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

export interface PortMapping {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  /** 0: not mapped. */
  readonly hostPort: number;
  /** Empty: all addresses of the node. */
  readonly hostIp: string;
}

/** What a pod asks of its network; everything absent is left to the plugins. */
export interface PodNetworkRequest extends PodIdentity {
  readonly portMappings?: readonly PortMapping[];
  readonly cgroupParent?: string;
  readonly aliases?: readonly string[];
  /** `kubernetes.io/{ingress,egress}-bandwidth` limit its traffic; all of them go to plugins that ask. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly dns?: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
}

/** Whether pods can get a network now; `message` is the whole text for NetworkReady. */
export type NetworkStatus =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: "NetworkPluginNotReady"; readonly message: string };
