import type { ControllerFiles, ReadText } from "./_parse.ts";
import { type Pressure, pressure } from "./pressure.ts";

/** What ioStats is read from. The CRI asks for nothing but pressure, which v1 does not keep. */
export const IO_FILES: ControllerFiles = { v1: {}, v2: ["io.pressure"] };

/** How long tasks of a cgroup waited for disks. */
export interface IoStats {
  readonly pressure: Pressure;
}

/** Undefined when the cgroup has no such figures. */
export function ioStats(text: ReadText): IoStats | undefined {
  const stalled = pressure(text("io.pressure"));
  return stalled === undefined ? undefined : { pressure: stalled };
}
