import type { ControllerFiles, ReadText } from "./_parse.ts";

/** What ioDetails is read from. */
export const IO_DETAIL_FILES: ControllerFiles = {
  v1: { blkio: ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"] },
  v2: ["io.stat"],
};

/** What a cgroup and those below it have asked of one block device. */
export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  /** Such as `/dev/sda`; `8:0` where the device has no name. */
  readonly name: string;
  /** By kind in lower case: `read` and `write`; on v1 `sync`, `async` and `total` as well, and `discard`. */
  readonly bytes: Readonly<Record<string, bigint>>;
  readonly operations: Readonly<Record<string, bigint>>;
}

/** Names a device by its number; undefined where there is no such device. */
export type DeviceNames = (device: { readonly major: number; readonly minor: number }) => string | undefined;

/** Devices that the cgroup has used; undefined when it has no such figures. */
export function ioDetails(text: ReadText, nameOf: DeviceNames): readonly DeviceIo[] | undefined {
  const devices = devicesOf(text);
  return devices?.map((device) => ({ ...device, name: nameOf(device) ?? `${device.major}:${device.minor}` }));
}

type Unnamed = Omit<DeviceIo, "name">;

function devicesOf(text: ReadText): Unnamed[] | undefined {
  const v2 = text("io.stat");
  if (v2 !== undefined) return v2.split("\n").flatMap((line) => v2Device(line) ?? []);
  const bytes = text("blkio.throttle.io_service_bytes_recursive");
  const operations = text("blkio.throttle.io_serviced_recursive");
  return bytes === undefined && operations === undefined ? undefined : v1Devices(bytes ?? "", operations ?? "");
}

const V2_BYTES = { read: "rbytes", write: "wbytes", discard: "dbytes" };
const V2_OPERATIONS = { read: "rios", write: "wios", discard: "dios" };

/** `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; a device that was never used has no counters. */
function v2Device(line: string): Unnamed | undefined {
  const [name = "", ...words] = line.split(" ").filter((word) => word !== "");
  const device = deviceNumber(name);
  if (device === undefined || words.length === 0) return undefined;
  const counters = new Map(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
  const pick = (names: Readonly<Record<string, string>>): Record<string, bigint> =>
    Object.fromEntries(
      Object.entries(names).flatMap(([kind, key]) => {
        const digits = counters.get(key) ?? "";
        return /^\d+$/.test(digits) ? [[kind, BigInt(digits)]] : [];
      }),
    );
  return { ...device, bytes: pick(V2_BYTES), operations: pick(V2_OPERATIONS) };
}

/** Lines `8:0 Read 123`, and one `Total 456` for all devices. */
function v1Devices(bytes: string, operations: string): Unnamed[] {
  const devices = new Map<string, { bytes: Record<string, bigint>; operations: Record<string, bigint> }>();
  for (const [kind, text] of [["bytes", bytes], ["operations", operations]] as const) {
    for (const line of text.split("\n")) {
      const [, name, operation, digits] = /^(\d+:\d+) (\w+) (\d+)$/.exec(line) ?? [];
      if (name === undefined || operation === undefined || digits === undefined) continue;
      const device = devices.get(name) ?? { bytes: {}, operations: {} };
      device[kind][operation.toLowerCase()] = BigInt(digits);
      devices.set(name, device);
    }
  }
  return [...devices].flatMap(([name, figures]) => {
    const device = deviceNumber(name);
    return device === undefined ? [] : [{ ...device, ...figures }];
  });
}

function deviceNumber(text: string): { major: number; minor: number } | undefined {
  const match = /^(\d{1,9}):(\d{1,9})$/.exec(text);
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) };
}
