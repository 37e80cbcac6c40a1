import type { CheckpointContainerRequest } from "../gen/api.ts";
import { absolute } from "./_checks.ts";
import { requestId } from "./request_id.ts";
import { execTimeoutMs } from "./timeout.ts";

/** A CheckpointContainer request after its checks. */
export interface CheckpointRequest {
  readonly id: string;
  /** Absolute path of the archive. */
  readonly location: string;
  /** 0: no limit. */
  readonly timeoutMs: number;
}

/** @throws InvalidArgumentError that names the field */
export function checkpointRequest(request: CheckpointContainerRequest): CheckpointRequest {
  return {
    id: requestId(request.containerId, "container_id"),
    location: absolute(request.location, "location"),
    timeoutMs: execTimeoutMs(request.timeout),
  };
}
