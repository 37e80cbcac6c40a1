import type { Config } from "../config/schema.ts";
import type { CheckpointOffer } from "../container/ports.ts";
import { findProgram } from "../linux/host.ts";
import { removeIfThere } from "../linux/remove.ts";

/**
 * What this node offers of checkpoints: what the configuration allows, where CRIU is installed. Looked at once, at
 * start; what former processes left in the staging directory is removed.
 *
 * @param directory on the file system of the containers' directories
 */
export async function openCheckpoints(config: Config, directory: string): Promise<CheckpointOffer> {
  await removeIfThere(directory);
  const hasCriu = await findProgram("criu") !== undefined;
  const { containerLevelEnabled: level } = config.checkpointRestore;
  return {
    stagingDirectory: directory,
    refusal: (what): string | undefined => {
      if (!config.runtime.enableCriuSupport) return "enable_criu_support is false in crio.conf";
      if (level === "none" || (what === "restore" && level === "checkpoint_only")) {
        return `container_level_enabled is ${level} in crio.conf`;
      }
      return hasCriu ? undefined : "criu is not installed on this node: install it and start crio again";
    },
  };
}
