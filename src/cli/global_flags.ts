import { type Option, wordsOf } from "../config/option.ts";
import { PLACES } from "../config/schema.ts";
import type { FlagSpec } from "./flags.ts";

/** Flags without an option. */
const OWN: readonly FlagSpec[] = [
  {
    name: "config",
    aliases: ["c"],
    boolean: false,
    value: "FILE",
    doc: 'configuration file; "" reads none (default: /etc/crio/crio.conf)',
  },
  {
    name: "config-dir",
    aliases: ["d"],
    boolean: false,
    value: "DIRECTORY",
    doc: 'directory of drop-in files, read in lexical order; "" reads none (default: /etc/crio/crio.conf.d)',
  },
  {
    name: "runtimes",
    boolean: false,
    doc: "runtime handler, name:path:root:type:privileged_without_host_devices:config_path:container_min_memory; " +
      "repeatable [$CONTAINER_RUNTIMES]",
  },
  { name: "address", boolean: false, hidden: true, doc: "accepted for containerd's shims" },
  { name: "help", aliases: ["h"], boolean: true, doc: "print the help text" },
  { name: "version", aliases: ["v"], boolean: true, doc: "print the version" },
];

/** All global flags: those of the schema and the few that have no option, by name. */
export function globalFlags(): readonly FlagSpec[] {
  const fromSchema = PLACES.flatMap(({ option }) => option.flag === undefined ? [] : [flagOf(option.flag, option)]);
  return [...OWN, ...fromSchema].sort((left, right) => left.name < right.name ? -1 : 1);
}

function flagOf(name: string, option: Option): FlagSpec {
  const { aliases, kind, hidden, doc, initial, env, deprecated, built } = option;
  const notes = [
    `(default: ${JSON.stringify(initial)})`,
    ...env.map((variable) => `[$${variable}]`),
    ...(deprecated === undefined ? [] : [`Deprecated: ${deprecated}.`]),
    ...(built ? [] : ["Accepted, without effect in this version."]),
  ];
  const words = wordsOf(option);
  return {
    name,
    aliases,
    boolean: kind === "boolean",
    hidden,
    doc: `${doc.replaceAll("\n", " ")} ${notes.join(" ")}`,
    ...(words === undefined ? {} : { words }),
  };
}
