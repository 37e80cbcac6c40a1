/** The version that clients and metrics see; its meaning is CRI-O's, whose surface this program has. */
export const VERSION = "1.37.0";

/** Where this program was built from. Empty texts when it runs from the source tree. */
export interface BuildInfo {
  readonly gitCommit: string;
  readonly gitCommitDate: string;
  readonly gitTreeState: string;
  readonly buildDate: string;
  /** `source`, `portable` or `compiled`. */
  readonly form: string;
}

const FROM_SOURCE: BuildInfo = { gitCommit: "", gitCommitDate: "", gitTreeState: "", buildDate: "", form: "source" };

/** What `scripts/build` put in front of the bundle. */
export function buildInfo(): BuildInfo {
  const stamped = (globalThis as { CRIO_BUILD?: Partial<BuildInfo> }).CRIO_BUILD;
  return { ...FROM_SOURCE, ...stamped };
}
