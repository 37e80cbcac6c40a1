import type { Logger } from "../base/logger.ts";
import { HANDLER, PLACES } from "./schema.ts";
import type { ConfigValues } from "./values.ts";

/**
 * Says what is odd about the configuration, each once: unknown keys and handlers that were left out as warnings,
 * deprecated options as warnings, options without effect in this version at debug level.
 */
export function reportConfig(values: ConfigValues, log: Logger): void {
  for (const { source, keyPath, problem } of values.warnings) log.warn(`${source}: ${keyPath}: ${problem}`);
  for (const { option, path } of PLACES) {
    const set = values.fixed.get(path);
    if (set === undefined || set.source === "this host") continue;
    if (option.deprecated !== undefined) log.warn(`${set.source}: ${path} is deprecated: ${option.deprecated}`);
    if (!option.built && JSON.stringify(set.value) !== JSON.stringify(option.initial)) {
      log.debug(`${set.source}: ${path} is accepted, without effect in this version`);
    }
  }
  for (const [name, handler] of values.handlers) {
    for (const option of Object.values(HANDLER)) {
      if (option.built || !handler.values.has(option.key)) continue;
      const path = `crio.runtime.runtimes.${name}.${option.key}`;
      log.debug(`${handler.source}: ${path} is accepted, without effect in this version`);
    }
  }
}
