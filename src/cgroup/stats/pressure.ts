/** Share of time in which tasks waited. */
export interface PressureLine {
  readonly totalMicros: number;
  /** Percent. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

/** Pressure stall information of one resource. */
export interface Pressure {
  /** At least one task waited. */
  readonly some: PressureLine;
  /** All tasks waited; absent for CPUs before Linux 5.13. */
  readonly full?: PressureLine;
}

/** Parses a `*.pressure` file (the kernel's accounting/psi); undefined where the kernel keeps none. */
export function pressure(text: string | undefined): Pressure | undefined {
  const some = pressureLine(text, "some");
  if (some === undefined) return undefined;
  const full = pressureLine(text, "full");
  return full === undefined ? { some } : { some, full };
}

function pressureLine(text: string | undefined, kind: string): PressureLine | undefined {
  const line = text?.split("\n").find((one) => one.startsWith(`${kind} `));
  const match = /^\w+ avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/.exec(line ?? "");
  if (match === null) return undefined;
  const [avg10 = 0, avg60 = 0, avg300 = 0, totalMicros = 0] = match.slice(1).map(Number);
  return [avg10, avg60, avg300, totalMicros].every(Number.isFinite) ? { totalMicros, avg10, avg60, avg300 } : undefined;
}
