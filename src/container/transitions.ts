import { FailedPreconditionError } from "../base/errors.ts";
import type { ContainerRecord, ContainerState } from "./types.ts";

/** What can happen to a container. */
export type ContainerEvent = "created" | "start" | "exit" | "pause" | "resume";

/** (state, event) -> state; the diagram stands above `ContainerState`. */
const NEXT: Readonly<Record<ContainerState, Partial<Record<ContainerEvent, ContainerState>>>> = {
  creating: { created: "created", exit: "exited" },
  created: { start: "running", exit: "exited" },
  running: { exit: "exited", pause: "paused" },
  paused: { resume: "running", exit: "exited" },
  exited: {},
};

/** An event that is not possible in the container's state. */
export class InvalidTransition extends FailedPreconditionError {
  constructor(readonly id: string, readonly from: ContainerState, readonly event: ContainerEvent) {
    super(`container ${id} is ${from}: ${event} is not possible`);
  }
}

/**
 * The record after an event.
 *
 * @throws InvalidTransition when the state does not know the event
 */
export function transition(
  record: ContainerRecord,
  event: ContainerEvent,
  changes: Partial<ContainerRecord> = {},
): ContainerRecord {
  const state = NEXT[record.state][event];
  if (state === undefined) throw new InvalidTransition(record.id, record.state, event);
  return { ...record, ...changes, state };
}
