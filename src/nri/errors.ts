import { PodError } from "../base/errors.ts";

/** What a plugin sent is not the protocol: its connection is of no use any more. */
export class ProtocolError extends PodError {
  override readonly kind = "unavailable";
}

/** A plugin did not answer: its time ran out, or its connection is gone. */
export class PluginLost extends PodError {
  override readonly kind = "unavailable";

  /** @param reason `timeout`: the connection still stands */
  constructor(message: string, readonly reason: "timeout" | "closed", options?: ErrorOptions) {
    super(message, options);
  }
}

/** A plugin, or a validator, answered a request with no. */
export class PluginRefusal extends PodError {
  override readonly kind = "failed_precondition";
}

/** Two plugins want to set the same thing. */
export class PluginConflict extends PodError {
  override readonly kind = "failed_precondition";
}

/** The other side's status of a ttrpc call; codes are those of gRPC. */
export class CallStatus extends PodError {
  override readonly kind = "internal";
  constructor(readonly code: number, message: string) {
    super(message);
  }
}
