import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { status } from "@grpc/grpc-js";
import {
  atStage,
  CancelledError,
  DeadlineError,
  type ErrorKind,
  InternalError,
  InvalidArgumentError,
  NotFoundError,
  PodError,
  StageError,
} from "../../../src/base/errors.ts";
import { toStatus } from "../../../src/cri/status.ts";

class KindError extends PodError {
  constructor(override readonly kind: ErrorKind, message = "x") {
    super(message);
  }
}

Deno.test("toStatus() has a code for each kind of error", () => {
  const table: Array<[ErrorKind, status]> = [
    ["not_found", status.NOT_FOUND],
    ["already_exists", status.ALREADY_EXISTS],
    ["invalid_argument", status.INVALID_ARGUMENT],
    ["failed_precondition", status.FAILED_PRECONDITION],
    ["resource_exhausted", status.RESOURCE_EXHAUSTED],
    ["unavailable", status.UNAVAILABLE],
    ["permission_denied", status.PERMISSION_DENIED],
    ["unimplemented", status.UNIMPLEMENTED],
    ["deadline_exceeded", status.DEADLINE_EXCEEDED],
    ["cancelled", status.CANCELLED],
    ["data_loss", status.DATA_LOSS],
    ["internal", status.INTERNAL],
    ["registry_unavailable", status.UNKNOWN],
    ["signature_validation_failed", status.UNKNOWN],
  ];
  for (const [kind, code] of table) equal(toStatus(new KindError(kind)).code, code, kind);
});

Deno.test("toStatus() puts the kubelet's marker in front, once, whatever the stages before it", () => {
  equal(toStatus(new KindError("registry_unavailable", "dial: refused")).details, "RegistryUnavailable: dial: refused");
  equal(
    toStatus(atStage("pull image x", new KindError("signature_validation_failed", "no key"))).details,
    "SignatureValidationFailed: pull image x: no key",
  );
  equal(
    toStatus(new StageError("s", "registry_unavailable", "m")).details,
    "RegistryUnavailable: s: m",
  );
  equal(toStatus(new KindError("registry_unavailable", "RegistryUnavailable: m")).details, "RegistryUnavailable: m");
});

Deno.test("toStatus() reports the first failure of a SuppressedError", () => {
  const first = new NotFoundError("image", "x");
  const once = new SuppressedError(new Error("clean-up"), first, "");
  const twice = new SuppressedError(new InternalError("more clean-up"), once, "");
  deepEqual(toStatus(twice), { code: status.NOT_FOUND, details: 'image "x" not found' });
});

Deno.test("toStatus() knows aborts and time-outs of the platform and of ours", () => {
  equal(toStatus(new DOMException("t", "TimeoutError")).code, status.DEADLINE_EXCEEDED);
  equal(toStatus(new DOMException("a", "AbortError")).code, status.CANCELLED);
  equal(toStatus(new DOMException("d", "DataCloneError")).code, status.INTERNAL);
  equal(toStatus(new DeadlineError("pull", "resolving", 5)).code, status.DEADLINE_EXCEEDED);
  equal(toStatus(new CancelledError("gone")).code, status.CANCELLED);
  equal(toStatus(atStage("s", new DOMException("t", "TimeoutError"))).code, status.DEADLINE_EXCEEDED);
});

Deno.test("toStatus() takes anything that can be thrown", () => {
  for (const thrown of [undefined, null, 0, "", "text", {}, Symbol.iterator, new TypeError(), Object.create(null)]) {
    const { details } = toStatus(thrown);
    equal(typeof details, "string");
  }
  equal(toStatus(new TypeError("boom")).code, status.INTERNAL);
});

Deno.test("toStatus() cuts long texts and repairs half surrogates", () => {
  const { details } = toStatus(new InvalidArgumentError("\u{1f600}".repeat(100_000)));
  assert(details.length < 5000);
  encodeURI(details);
  encodeURI(toStatus(new InvalidArgumentError("x".repeat(4095) + "\u{1f600}")).details);
});
