/**
 * The closed list of error kinds. `cri/status.ts` maps each of them to one gRPC code, `status/` to an HTTP code and
 * `cli/` to an exit code; nothing else interprets them.
 */
export type ErrorKind =
  | "not_found"
  | "already_exists"
  | "invalid_argument"
  | "failed_precondition"
  | "resource_exhausted"
  | "unavailable"
  | "registry_unavailable"
  | "signature_validation_failed"
  | "permission_denied"
  | "unimplemented"
  | "deadline_exceeded"
  | "cancelled"
  | "data_loss"
  | "internal";

/** Root of all errors that this project throws. Messages are lower case, without a full stop, and name the object. */
export abstract class PodError extends Error {
  /** What class of failure this is; decides the code that the caller sees. */
  abstract readonly kind: ErrorKind;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A thing that was asked for does not exist. */
export class NotFoundError extends PodError {
  override readonly kind = "not_found";
  constructor(readonly what: string, readonly id: string, options?: ErrorOptions) {
    super(`${what} ${JSON.stringify(id)} not found`, options);
  }
}

/** A name or path is taken by something else. */
export class AlreadyExistsError extends PodError {
  override readonly kind = "already_exists";
}

/** The request itself is wrong; repeating it cannot help. */
export class InvalidArgumentError extends PodError {
  override readonly kind = "invalid_argument";
}

/** The object is in a state in which the request is not possible. */
export class FailedPreconditionError extends PodError {
  override readonly kind = "failed_precondition";
}

/** A limit of this node was reached: disk, memory, sessions, output size. */
export class ResourceExhaustedError extends PodError {
  override readonly kind = "resource_exhausted";
}

/** Something that is needed is not there now; a retry may succeed. */
export class UnavailableError extends PodError {
  override readonly kind = "unavailable";
}

/** This node cannot do what was asked, and says why. */
export class UnimplementedError extends PodError {
  override readonly kind = "unimplemented";
}

/** Time ran out; `stage` says where, `elapsedMs` after how long. */
export class DeadlineError extends PodError {
  override readonly kind = "deadline_exceeded";
  constructor(readonly what: string, readonly stage: string, readonly elapsedMs: number, options?: ErrorOptions) {
    super(`${what}: out of time after ${Math.round(elapsedMs)} ms while ${stage}`, options);
  }
}

/** The caller went away. */
export class CancelledError extends PodError {
  override readonly kind = "cancelled";
}

/** Stored data is damaged or does not match its digest. */
export class DataLossError extends PodError {
  override readonly kind = "data_loss";
}

/** A failure of this program or its host that has no better class. */
export class InternalError extends PodError {
  override readonly kind = "internal";
}

/**
 * Adds the stage and the object to whatever was thrown, keeping its kind: `stage`: message.
 *
 * @param stage what was being done, e.g. `create rootfs of container "x"`
 */
export function atStage(stage: string, thrown: unknown): PodError {
  const first = firstFailure(thrown);
  const kind: ErrorKind = first instanceof PodError ? first.kind : isAbort(first);
  return new StageError(stage, kind, messageOf(first), { cause: first });
}

/** A failure with the stage in which it happened; takes its kind from the cause. */
export class StageError extends PodError {
  constructor(readonly stage: string, override readonly kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(`${stage}: ${message}`, options);
  }
}

/** The first failure inside nested SuppressedErrors (`.suppressed` is the earlier one, `.error` the clean-up's). */
export function firstFailure(thrown: unknown): unknown {
  let current = thrown;
  while (current instanceof SuppressedError) current = current.suppressed;
  return current;
}

/** The message of anything that can be thrown. */
export function messageOf(thrown: unknown): string {
  const first = firstFailure(thrown);
  return first instanceof Error ? first.message : String(first);
}

function isAbort(thrown: unknown): ErrorKind {
  if (!(thrown instanceof DOMException)) return "internal";
  if (thrown.name === "TimeoutError") return "deadline_exceeded";
  return thrown.name === "AbortError" ? "cancelled" : "internal";
}
