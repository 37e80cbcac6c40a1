/** One way to run the specs: which OCI runtime, and how streams are dialled. */
export interface Variant {
  readonly name: VariantName;
  /** The handler of crio.conf. */
  readonly handler: string;
  /** Where the program is built from, for one that Debian does not have: a name and version for scripts/go-program. */
  readonly built?: readonly [name: string, version: string];
  /** critest dials exec, attach and port-forward through WebSocket instead of SPDY. */
  readonly websocket: boolean;
}

export type VariantName = "crun" | "runc" | "runc-new";

/** Debian's runtimes, and a newer runc for what these are too old for. Streams do not depend on the runtime: both ways are dialled. */
export const VARIANTS: readonly Variant[] = [
  { name: "crun", handler: "crun", websocket: false },
  { name: "runc", handler: "runc", websocket: true },
  { name: "runc-new", handler: "runc-new", built: ["runc", "v1.5.3"], websocket: false },
];
