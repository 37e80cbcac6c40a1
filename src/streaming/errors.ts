import { type ErrorKind, PodError } from "../base/errors.ts";

/** The client does not keep to the protocol; its connection is closed. */
export class ProtocolError extends PodError {
  override readonly kind: ErrorKind = "invalid_argument";
}
