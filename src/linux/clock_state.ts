import { lazyLibc } from "./_libc.ts";

const libc = lazyLibc({ adjtimex: { parameters: ["buffer"], result: "i32" } });

/** struct timex of 64-bit Linux has 208 bytes; zero `modes`: nothing is changed. */
const TIMEX_BYTES = 256;
const STATUS_OFFSET = 40;
const STA_UNSYNC = 0x40;
/** As all machines that this runs on are. */
const LITTLE_ENDIAN = true;

/** Whether something keeps the kernel's clock on time, adjtimex(2); undefined where the kernel does not say. */
export function isClockSynchronized(): boolean | undefined {
  const state = new DataView(new ArrayBuffer(TIMEX_BYTES));
  // FFI adjtimex(2): only reads, into a buffer that lives over the call.
  if (libc().adjtimex(state.buffer) === -1) return undefined;
  return (state.getInt32(STATUS_OFFSET, LITTLE_ENDIAN) & STA_UNSYNC) === 0;
}
