import { status as code } from "@grpc/grpc-js";
import { type ErrorKind, firstFailure, PodError } from "../base/errors.ts";

/** What a failed call answers. */
export interface GrpcStatus {
  readonly code: code;
  readonly details: string;
}

/**
 * The one place that knows gRPC codes.
 *
 * The last two are UNKNOWN on purpose: the kubelet compares the beginning of the error text with the marker, and only
 * for UNKNOWN does it strip the `rpc error: code = …` that would stand before it (kubelet, cri-client remote_image.go).
 */
const CODES: Readonly<Record<ErrorKind, code>> = {
  not_found: code.NOT_FOUND,
  already_exists: code.ALREADY_EXISTS,
  invalid_argument: code.INVALID_ARGUMENT,
  failed_precondition: code.FAILED_PRECONDITION,
  resource_exhausted: code.RESOURCE_EXHAUSTED,
  unavailable: code.UNAVAILABLE,
  permission_denied: code.PERMISSION_DENIED,
  unimplemented: code.UNIMPLEMENTED,
  deadline_exceeded: code.DEADLINE_EXCEEDED,
  cancelled: code.CANCELLED,
  data_loss: code.DATA_LOSS,
  internal: code.INTERNAL,
  registry_unavailable: code.UNKNOWN,
  signature_validation_failed: code.UNKNOWN,
};

/** Texts that the kubelet looks for at the front of a message (k8s.io/cri-api pkg/errors). */
const MARKERS: Readonly<Partial<Record<ErrorKind, string>>> = {
  registry_unavailable: "RegistryUnavailable",
  signature_validation_failed: "SignatureValidationFailed",
};

/** Details travel in an HTTP/2 header, percent-encoded; clients limit headers, some to 16 KiB. */
const MAX_DETAILS_LENGTH = 4096;

/** Turns anything that was thrown into what the client sees. Never throws. */
export function toStatus(thrown: unknown): GrpcStatus {
  const first = firstFailure(thrown);
  const kind = errorKind(first);
  const marker = MARKERS[kind];
  const message = textOf(first) || "failed without a message";
  const marked = marker === undefined || message.startsWith(marker) ? message : `${marker}: ${message}`;
  return { code: CODES[kind], details: printable(marked) };
}

function errorKind(thrown: unknown): ErrorKind {
  if (thrown instanceof PodError) return thrown.kind;
  if (thrown instanceof DOMException) {
    if (thrown.name === "TimeoutError") return "deadline_exceeded";
    if (thrown.name === "AbortError") return "cancelled";
  }
  return "internal";
}

/** Not every object can be made a string. */
function textOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  return typeof thrown === "object" ? "something that is no error was thrown" : String(thrown);
}

/** grpc-js runs `encodeURI` over the text, which throws on half a surrogate pair: so cut first, then repair. */
function printable(text: string): string {
  const cut = text.length <= MAX_DETAILS_LENGTH ? text : `${text.slice(0, MAX_DETAILS_LENGTH)}… (cut)`;
  return cut.toWellFormed();
}
