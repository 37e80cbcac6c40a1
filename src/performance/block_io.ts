import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../base/errors.ts";
import { parseQuantity } from "../base/quantity.ts";
import type { Logger } from "../base/logger.ts";
import { parseYaml } from "../config/yaml.ts";
import { matchingPaths } from "./glob.ts";

/** A rate of one block device. */
export interface DeviceRate {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

/** `linux.resources.blockIO` of the runtime specification. */
export interface BlockIo {
  readonly weight?: number;
  readonly weightDevice?: ReadonlyArray<{ readonly major: number; readonly minor: number; readonly weight: number }>;
  readonly throttleReadBpsDevice?: readonly DeviceRate[];
  readonly throttleWriteBpsDevice?: readonly DeviceRate[];
  readonly throttleReadIOPSDevice?: readonly DeviceRate[];
  readonly throttleWriteIOPSDevice?: readonly DeviceRate[];
}

/** Rates by their names in the file, in lower case. */
const RATES = {
  throttlereadbps: "throttleReadBpsDevice",
  throttlewritebps: "throttleWriteBpsDevice",
  throttlereadiops: "throttleReadIOPSDevice",
  throttlewriteiops: "throttleWriteIOPSDevice",
} as const;
type RateName = typeof RATES[keyof typeof RATES];

const WEIGHTS = { min: 10, max: 1000 };

/** One item of a class. */
interface ClassItem {
  readonly devices: readonly string[] | undefined;
  readonly weight: number | undefined;
  readonly rates: ReadonlyArray<readonly [RateName, number]>;
}

type Classes = ReadonlyMap<string, readonly ClassItem[]>;

/** Classes of block I/O from a file in goresctrl's format: `Classes: {<name>: [{Devices, Weight, Throttle…}]}`. */
export class BlockIoClasses {
  readonly #resolved = new Map<string, Promise<BlockIo>>();

  private constructor(
    private readonly classes: Classes,
    private readonly options: { readonly path: string; readonly rescan: boolean; readonly log: Logger },
  ) {}

  /**
   * @param options.rescan looks for block devices anew for each container
   * @throws InvalidArgumentError with file and place of the first mistake
   */
  static async read(
    path: string,
    options: { readonly rescan: boolean; readonly log: Logger },
  ): Promise<BlockIoClasses> {
    try {
      return new BlockIoClasses(readClasses(await parseYaml(await Deno.readTextFile(path))), { path, ...options });
    } catch (cause) {
      throw new InvalidArgumentError(`blockio_config_file ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** @throws FailedPreconditionError for a class that the file does not have */
  async resolve(name: string): Promise<BlockIo> {
    const items = this.classes.get(name);
    if (items === undefined) {
      const known = [...this.classes.keys()].join(", ") || "none";
      throw new FailedPreconditionError(
        `block I/O class ${JSON.stringify(name)} is not in ${this.options.path} (there are: ${known})`,
      );
    }
    const known = this.options.rescan ? undefined : this.#resolved.get(name);
    if (known !== undefined) return await known;
    const fresh = this.#resolve(name, items);
    this.#resolved.set(name, fresh);
    fresh.catch(() => this.#resolved.delete(name));
    return await fresh;
  }

  async #resolve(name: string, items: readonly ClassItem[]): Promise<BlockIo> {
    let weight: number | undefined;
    const weights = new Map<string, { major: number; minor: number; weight: number }>();
    const rates = new Map<RateName, Map<string, DeviceRate>>();
    for (const item of items) {
      if (item.devices === undefined) weight = item.weight ?? weight;
      for (const { major, minor } of await blockDevices(item.devices ?? [])) {
        const key = `${major}:${minor}`;
        if (item.weight !== undefined) weights.set(key, { major, minor, weight: item.weight });
        for (const [rate, value] of item.rates) {
          rates.set(rate, (rates.get(rate) ?? new Map()).set(key, { major, minor, rate: value }));
        }
      }
    }
    if (weights.size + rates.size === 0 && weight === undefined) {
      this.options.log.warn(`block I/O class ${name}: none of its devices is on this node`);
    }
    return {
      ...(weight === undefined ? {} : { weight }),
      ...(weights.size === 0 ? {} : { weightDevice: [...weights.values()] }),
      ...Object.fromEntries([...rates].map(([rate, devices]) => [rate, [...devices.values()]])),
    };
  }
}

function readClasses(document: unknown): Classes {
  const classes = fields(fields(document, "the file").get("classes") ?? {}, "Classes", { keepCase: true });
  return new Map(
    [...classes].map(([name, items]) => {
      if (!Array.isArray(items)) throw new TypeError(`Classes.${name} is not a list`);
      return [name, items.map((item, index) => readItem(item, `Classes.${name}[${index}]`))] as const;
    }),
  );
}

function readItem(value: unknown, place: string): ClassItem {
  const item = fields(value, place);
  const unknown = [...item.keys()].find((key) => key !== "devices" && key !== "weight" && !Object.hasOwn(RATES, key));
  if (unknown !== undefined) throw new TypeError(`${place}.${unknown} is not known`);
  const devices = item.get("devices");
  if (devices !== undefined && !(Array.isArray(devices) && devices.every((one) => typeof one === "string"))) {
    throw new TypeError(`${place}.Devices is not a list of paths`);
  }
  const rates = Object.entries(RATES).flatMap(([key, name]) => {
    const rate = quantity(item.get(key), { place: `${place}.${key}`, min: 0, max: Number.MAX_SAFE_INTEGER });
    return rate === undefined ? [] : [[name, rate] as const];
  });
  if (devices === undefined && rates.length > 0) throw new TypeError(`${place} has rates but no Devices`);
  return { devices, rates, weight: quantity(item.get("weight"), { place: `${place}.Weight`, ...WEIGHTS }) };
}

/** An object's fields; the file's words may be written in capitals. */
function fields(
  value: unknown,
  place: string,
  options: { readonly keepCase?: boolean } = {},
): ReadonlyMap<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`${place} is not an object`);
  }
  const entries = Object.entries(value);
  return new Map(options.keepCase === true ? entries : entries.map(([key, item]) => [key.toLowerCase(), item]));
}

function quantity(
  value: unknown,
  { place, min, max }: { place: string; min: number; max: number },
): number | undefined {
  if (value === undefined) return undefined;
  const number = parseQuantity(String(value));
  if (number !== undefined && number >= min && number <= max) return number;
  throw new TypeError(`${place} ${JSON.stringify(value)} is not a quantity between ${min} and ${max}`);
}

/** Whole disks among the paths that these patterns match; links are followed, partitions left out. */
async function blockDevices(patterns: readonly string[]): Promise<Array<{ major: number; minor: number }>> {
  const found: Array<{ major: number; minor: number }> = [];
  for (const path of (await Promise.all(patterns.map(matchingPaths))).flat()) {
    const info = await Deno.stat(path).catch(() => undefined); // a dangling link
    if (info?.isBlockDevice !== true || info.rdev === null) continue;
    const major = Math.floor(info.rdev / 256) % 4096;
    const minor = (info.rdev % 256) + Math.floor(info.rdev / 1_048_576) * 256;
    const isPartition = await Deno.stat(`/sys/dev/block/${major}:${minor}/partition`).then(() => true, () => false);
    if (!isPartition) found.push({ major, minor });
  }
  return found;
}
