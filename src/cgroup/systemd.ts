import { DeadlineError, type ErrorKind, messageOf, PodError } from "../base/errors.ts";
import { DbusConnection } from "./dbus.ts";
import { DbusReader, type DbusWriter, type MethodCall } from "./dbus_message.ts";

/** systemd refused a request, or could not be asked. */
export class SystemdError extends PodError {
  override readonly kind: ErrorKind = "unavailable";
}

/** Where every distribution has the system's message bus. */
const BUS_PATH = "/run/dbus/system_bus_socket";
/** systemd answers in milliseconds unless it is busy with much else. */
const LIMIT_MS = 30_000;

const MANAGER = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
} as const;
const JOB_REMOVED = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1'," +
  "interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

export interface ScopeOptions {
  /** Name with `.scope`. */
  readonly unit: string;
  /** Name with `.slice`. */
  readonly slice: string;
  readonly pid: number;
  readonly signal?: AbortSignal;
  /** Path of the bus's socket; default the system's. */
  readonly bus?: string;
}

/**
 * Has systemd make a scope unit and move one process into it, and waits until it is there (D-Bus `StartTransientUnit`,
 * org.freedesktop.systemd1(5)). The unit goes with its last process, also after a failure.
 *
 * @throws SystemdError when systemd refuses, or cannot be reached
 */
export async function startScope(options: ScopeOptions): Promise<void> {
  const { unit, slice, pid } = options;
  await runJob(options, {
    ...MANAGER,
    member: "StartTransientUnit",
    signature: "ssa(sv)a(sa(sv))",
    body: (writer) => {
      writer.string(unit);
      writer.string("fail");
      writer.array(8, () => {
        property(writer, "PIDs", "au", () => writer.array(4, () => writer.uint32(pid)));
        property(writer, "Slice", "s", () => writer.string(slice));
        property(writer, "DefaultDependencies", "b", () => writer.uint32(0));
        property(writer, "CollectMode", "s", () => writer.string("inactive-or-failed"));
      });
      writer.array(8, () => {});
    },
  });
}

function property(writer: DbusWriter, name: string, type: string, writeValue: () => void): void {
  writer.pad(8);
  writer.string(name);
  writer.signature(type);
  writeValue();
}

/** Has a job run to its end. */
async function runJob(options: ScopeOptions, call: MethodCall): Promise<void> {
  const { unit, bus = BUS_PATH } = options;
  const time = AbortSignal.timeout(LIMIT_MS);
  const signal = options.signal === undefined ? time : AbortSignal.any([options.signal, time]);
  const what = `systemd ${call.member} ${unit}`;
  let result: string;
  try {
    result = await jobResult(bus, call, { signal });
  } catch (error) {
    if (options.signal?.aborted === true) throw options.signal.reason;
    if (time.aborted) throw new DeadlineError(what, "waiting for systemd", LIMIT_MS);
    throw new SystemdError(`${what}: ${messageOf(error)}`, { cause: error });
  }
  if (result !== "done") throw new SystemdError(`${what}: the job's result is ${result}`);
}

async function jobResult(
  bus: string,
  call: MethodCall,
  { signal }: { signal: AbortSignal },
): Promise<string> {
  using connection = await DbusConnection.connect(bus, { signal });
  await connection.addMatch(JOB_REMOVED);
  await connection.call({ ...MANAGER, member: "Subscribe" });
  const job = new DbusReader((await connection.call(call)).body).string();
  let result = "";
  await connection.waitSignal(({ member, signature, body }) => {
    if (member !== "JobRemoved" || signature !== "uoss") return false;
    const reader = new DbusReader(body);
    reader.uint32();
    const isOurs = reader.string() === job;
    reader.string();
    if (isOurs) result = reader.string();
    return isOurs;
  });
  return result;
}
