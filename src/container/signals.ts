import { InvalidArgumentError } from "../base/errors.ts";

/** Numbers of Linux signals (asm-generic/signal.h). */
const NUMBERS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  PWR: 30,
  SYS: 31,
};
const RTMIN = 34;
const RTMAX = 64;

/**
 * The number of a signal given as `SIGTERM`, `TERM`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
 *
 * @throws InvalidArgumentError for anything else
 */
export function signalNumber(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const known = NUMBERS[name];
  if (known !== undefined) return known;
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  const number = realtime === null
    ? /^\d+$/.test(name) ? Number(name) : Number.NaN
    : (realtime[1] === "MIN" ? RTMIN : RTMAX) + Number(`${realtime[2] ?? "+"}${realtime[3] ?? 0}`);
  if (number >= 1 && number <= RTMAX) return number;
  throw new InvalidArgumentError(`stop signal ${JSON.stringify(text)} is not known`);
}
