import type { Clock } from "../base/clock.ts";

/** A number can be another device's after a while. */
const REMEMBER_MS = 60_000;

/** Names of block devices, by sysfs; remembered for a minute. */
export class BlockDeviceNames {
  readonly #names = new Map<string, string | undefined>();
  #sinceMs = 0;

  /** @param directory where `<major>:<minor>` are links to devices */
  constructor(private readonly clock: Pick<Clock, "monotonicMs">, private readonly directory = "/sys/dev/block") {}

  /** Such as `/dev/sda`; undefined for a device that is not there. */
  find({ major, minor }: { readonly major: number; readonly minor: number }): string | undefined {
    const nowMs = this.clock.monotonicMs();
    if (nowMs - this.#sinceMs > REMEMBER_MS) {
      this.#names.clear();
      this.#sinceMs = nowMs;
    }
    const key = `${major}:${minor}`;
    if (!this.#names.has(key)) this.#names.set(key, this.#read(key));
    return this.#names.get(key);
  }

  #read(key: string): string | undefined {
    try {
      const target = Deno.readLinkSync(`${this.directory}/${key}`);
      // The kernel writes `!` for the slash in names such as cciss/c0d0.
      return `/dev/${target.slice(target.lastIndexOf("/") + 1).replaceAll("!", "/")}`;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }
}
