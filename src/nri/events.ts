import { Event } from "./gen/nri.ts";

/** Events that plugins can ask for. Their names are those of the methods. */
export const EVENTS = {
  RunPodSandbox: Event.RUN_POD_SANDBOX,
  UpdatePodSandbox: Event.UPDATE_POD_SANDBOX,
  PostUpdatePodSandbox: Event.POST_UPDATE_POD_SANDBOX,
  StopPodSandbox: Event.STOP_POD_SANDBOX,
  RemovePodSandbox: Event.REMOVE_POD_SANDBOX,
  CreateContainer: Event.CREATE_CONTAINER,
  PostCreateContainer: Event.POST_CREATE_CONTAINER,
  StartContainer: Event.START_CONTAINER,
  PostStartContainer: Event.POST_START_CONTAINER,
  UpdateContainer: Event.UPDATE_CONTAINER,
  PostUpdateContainer: Event.POST_UPDATE_CONTAINER,
  StopContainer: Event.STOP_CONTAINER,
  RemoveContainer: Event.REMOVE_CONTAINER,
  ValidateContainerAdjustment: Event.VALIDATE_CONTAINER_ADJUSTMENT,
} as const;

export type EventName = keyof typeof EVENTS;
