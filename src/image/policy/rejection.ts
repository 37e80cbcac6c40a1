import { type ErrorKind, PodError } from "../../base/errors.ts";

/** Why one signature does not count. */
export class SignatureRejection extends PodError {
  override readonly kind: ErrorKind = "signature_validation_failed";
}
