import { VERSION } from "../base/version.ts";
import { buildConfig } from "../config/build.ts";
import { loadValues } from "../config/load.ts";
import { defaultTemplate, renderToml } from "../config/template.ts";
import type { ConfigValues } from "../config/values.ts";
import { print, printError } from "./_output.ts";
import { flagsOf } from "./commands.ts";
import { isSet, lastValue, type ParsedFlags, parseFlags, UsageError } from "./flags.ts";
import { globalFlags } from "./global_flags.ts";

/** Commands behind global flags: the daemon when there is none. */
export async function globalCommand(args: readonly string[]): Promise<number> {
  const parsed = parseFlags(args, globalFlags());
  const [command = "", ...rest] = parsed.rest;
  if (isSet(parsed, "help")) return await help();
  if (isSet(parsed, "version")) {
    print(`crio version ${VERSION}\n`);
    return 0;
  }
  switch (command) {
    case "":
      return await (await import("./serve.ts")).serveCommand(() => valuesOf(parsed));
    case "config":
      return await configCommand(parsed, rest);
    case "wipe":
      return await (await import("./wipe.ts")).wipeCommand(await valuesOf(parsed), rest);
    case "check":
      return await (await import("./check.ts")).checkCommand(await valuesOf(parsed), rest);
    case "reload":
      return await (await import("./reload.ts")).reloadCommand(rest);
    case "version":
      return (await import("./version.ts")).versionCommand(rest);
    case "status":
      return await (await import("./status.ts")).statusCommand(rest);
    case "completion":
    case "complete":
      return (await import("./completion.ts")).completionCommand(rest);
    case "man":
      return await (await import("./manual.ts")).manualCommand("man", rest);
    case "markdown":
    case "md":
      return await (await import("./manual.ts")).manualCommand("markdown", rest);
    case "help":
    case "h":
      return await help(rest);
    default:
      throw new UsageError(`command ${JSON.stringify(command)} not supported; crio --help lists what is`);
  }
}

/** On the command that the words name; on all where they name none. */
async function help(words: readonly string[] = []): Promise<number> {
  const { helpOn, helpText } = await import("./help.ts");
  print(helpOn(words) ?? helpText());
  return 0;
}

function valuesOf(parsed: ParsedFlags): Promise<ConfigValues> {
  const configPath = lastValue(parsed, "config");
  const configDir = lastValue(parsed, "config-dir");
  return loadValues({
    flags: parsed.flags,
    env: Deno.env.toObject(),
    ...(configPath === undefined ? {} : { configPath }),
    ...(configDir === undefined ? {} : { configDir }),
  });
}

/** `crio config [--default]`: the configuration as TOML; checks that need no host included. */
async function configCommand(parsed: ParsedFlags, args: readonly string[]): Promise<number> {
  const own = parseFlags(args, flagsOf("config"));
  if (own.rest.length > 0) throw new UsageError(`config takes no argument, got ${own.rest.join(" ")}`);
  if (isSet(own, "default")) {
    print(defaultTemplate());
    return 0;
  }
  const values = await valuesOf(parsed);
  buildConfig(values);
  for (const { source, keyPath, problem } of values.warnings) {
    printError(`warning: ${source}: ${keyPath}: ${problem}\n`);
  }
  print(renderToml(values, "changed"));
  return 0;
}
