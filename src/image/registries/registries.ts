import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { mergeRegistries, parseRegistries, type RegistriesConfig } from "./registries_conf.ts";
import { readRegistryFile, type RegistriesSource, registryFiles } from "./registry_files.ts";

/**
 * The registries configuration as it is now: each question looks whether a file was changed (one stat each), and a
 * configuration that is wrong leaves the last good one in force.
 */
export class Registries {
  #good: RegistriesConfig | undefined;
  /** What the files were when they were read last, well or badly. */
  #seen: string | undefined;

  constructor(private readonly source: RegistriesSource, private readonly log: Logger) {}

  /** Reads all files, changed or not. @throws InvalidArgumentError naming the file and the line or key */
  async check(): Promise<void> {
    await this.#read(await registryFiles(this.source));
  }

  /** @throws InvalidArgumentError naming the file and the line or key, when there was never a good configuration */
  async current(): Promise<RegistriesConfig> {
    let seen: string | undefined;
    try {
      const files = await registryFiles(this.source);
      seen = files.map(({ signature }) => signature).join("\n");
      if (this.#good !== undefined && seen === this.#seen) return this.#good;
      const config = await this.#read(files);
      if (this.#good !== undefined) this.log.info("Read the changed registries configuration");
      for (const warning of config.warnings) this.log.warn(warning);
      this.#good = config;
      this.#seen = seen;
      return config;
    } catch (error) {
      const reason = messageOf(error);
      if (this.#good === undefined) throw error;
      // Once per change, not once per pull.
      if (this.#seen !== (seen ?? reason)) {
        this.log.error(`registries configuration is wrong, the last good one stays in force: ${reason}`);
      }
      this.#seen = seen ?? reason;
      return this.#good;
    }
  }

  async #read(files: Awaited<ReturnType<typeof registryFiles>>): Promise<RegistriesConfig> {
    const layers = await Promise.all(
      files.map(async (file) => parseRegistries(await readRegistryFile(file), file.path)),
    );
    return mergeRegistries(layers);
  }
}
