/** How a command went: its exit code, or why it could not be run. */
export type Outcome = { readonly exitCode: number } | { readonly failure: string };

/**
 * What goes to the client on the error stream. From v4 on a `Status` object of the Kubernetes API, in the form that
 * kubectl understands; before that text, and nothing when all went well.
 */
export function errorStreamText(outcome: Outcome, version: number): string {
  if (version >= 4) return JSON.stringify(statusOf(outcome));
  if ("failure" in outcome) return outcome.failure;
  return outcome.exitCode === 0 ? "" : exitMessage(outcome.exitCode);
}

/** apimachinery, meta/v1 Status; reasons of apimachinery/pkg/util/remotecommand. */
function statusOf(outcome: Outcome): object {
  if ("failure" in outcome) {
    return {
      metadata: {},
      status: "Failure",
      message: outcome.failure,
      reason: "InternalError",
      details: { causes: [{ message: outcome.failure }] },
      code: 500,
    };
  }
  if (outcome.exitCode === 0) return { metadata: {}, status: "Success" };
  return {
    metadata: {},
    status: "Failure",
    message: exitMessage(outcome.exitCode),
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(outcome.exitCode) }] },
  };
}

function exitMessage(exitCode: number): string {
  return `command terminated with non-zero exit code: exit status ${exitCode}`;
}
