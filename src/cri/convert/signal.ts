import { Signal } from "../gen/api.ts";
import { invalid } from "./_checks.ts";

/** Names of the CRI that stand for the same number as another. */
const ALIASES: Readonly<Record<string, string>> = { SIGCLD: "SIGCHLD", SIGIOT: "SIGABRT", SIGPOLL: "SIGIO" };

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Signal)
    .filter(([key]) => key !== "RUNTIME_DEFAULT")
    .map(([key, value]) => [value, ALIASES[key] ?? key.replace("PLUS", "+").replace("MINUS", "-")]),
);
const VALUES: ReadonlyMap<string, Signal> = new Map(
  Object.entries(Signal).filter(([key]) => !(key in ALIASES)).map(([key, value]) => [NAMES.get(value) ?? key, value]),
);

/** `SIGTERM` or `SIGRTMIN+3`; undefined where the image decides. */
export function signalName(signal: Signal, field: string): string | undefined {
  if (signal === Signal.RUNTIME_DEFAULT) return undefined;
  const name = NAMES.get(signal);
  if (name === undefined) throw invalid(field, `${String(signal)} is not a known signal`);
  return name;
}

/** The CRI's value for `SIGTERM` or `TERM`; RUNTIME_DEFAULT for what it has no name for. */
export function signalValue(name: string): Signal {
  const upper = name.toUpperCase();
  const full = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  return VALUES.get(ALIASES[full] ?? full) ?? Signal.RUNTIME_DEFAULT;
}
