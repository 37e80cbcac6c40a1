/** Times of entries, as the kernel takes them. */
import { setTimes } from "../../linux/at.ts";
import type { FileTime, TarEntry } from "./entry.ts";

export type Times = Pick<TarEntry, "mtime" | "atime">;

/** 2^63 nanoseconds. */
const MAX_SECONDS = 9_223_372_036;
const EPOCH: FileTime = { seconds: 0, nanos: 0 };

/** Fills the buffer of utimensat(2). A time of access is never before the last change. */
export function fillTimes(buffer: Int32Array, { atime: own }: Times, mtime: FileTime): void {
  const atime = own !== undefined && isLater(own, mtime) ? saneTime(own) : mtime;
  setTimes(buffer, 0, atime.seconds, atime.nanos);
  setTimes(buffer, 1, mtime.seconds, mtime.nanos);
}

/** What lies before the epoch or beyond the year 2262 becomes the epoch, as in containers/storage. */
export function saneTime(time: FileTime): FileTime {
  return time.seconds >= 0 && time.seconds < MAX_SECONDS ? time : EPOCH;
}

function isLater(a: FileTime, b: FileTime): boolean {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanos > b.nanos);
}
