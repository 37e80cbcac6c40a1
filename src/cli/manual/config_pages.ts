import { type Option, type OptionTable, wordsOf } from "../../config/option.ts";
import {
  HANDLER,
  SECTION_PATH,
  type SectionName,
  SECTIONS,
  WORKLOAD,
  WORKLOAD_RESOURCES,
} from "../../config/schema.ts";
import { type Block, example, heading, type Page, paragraph, type Term, terms } from "./document.ts";

const KIND_NAME = {
  string: "text",
  integer: "integer",
  boolean: "true or false",
  strings: "list of texts",
  duration: "duration, such as 1m30s",
  size: "size, such as 12 MiB",
  map: "table of texts",
} as const;

/** crio.conf(5), all of it from the schema. */
export function configPage(): Page {
  const sections = Object.entries(SECTION_PATH) as ReadonlyArray<[SectionName, string | undefined]>;
  const blocks = sections.flatMap(([section, path]) => {
    if (path === undefined) return [];
    const own = table(path, SECTIONS[section]);
    return section === "runtime" ? [...own, ...innerTables()] : own;
  });
  return {
    name: "crio.conf",
    section: 5,
    title: "configuration of crio",
    blocks: [
      heading("DESCRIPTION"),
      paragraph(
        "The file is TOML. crio(8) reads it at start, then the files of crio.conf.d(5); environment variables and flags come last. " +
          "`crio config` prints what differs from the defaults, `crio config --default` every option with its default.",
      ),
      paragraph(
        "An unknown option is a warning that names the nearest known one. A wrong value is an error that names the file and the " +
          "option, and the daemon does not start. Options marked with reload are applied to a running daemon.",
      ),
      ...blocks,
      heading("EXAMPLE"),
      example(
        "[crio.runtime]",
        'default_runtime = "runc"',
        'log_level = "debug"',
        "",
        "[crio.metrics]",
        "enable_metrics = true",
      ),
      heading("SEE ALSO"),
      paragraph(
        "crio(8), crio.conf.d(5), containers-storage.conf(5), containers-registries.conf(5), containers-policy.json(5)",
      ),
    ],
  };
}

/** crio.conf.d(5). */
export function configDropInPage(): Page {
  return {
    name: "crio.conf.d",
    section: 5,
    title: "directory of drop-in files for crio.conf",
    blocks: [
      heading("DESCRIPTION"),
      paragraph(
        "All files in /etc/crio/crio.conf.d and in the directories below it, whatever they are called, are read after /etc/crio/crio.conf, " +
          "in the lexical order of their paths. Each has the form of crio.conf(5) and holds only what it changes.",
      ),
      paragraph(
        "A later file replaces single options: a list is replaced as a whole, and so is one table `crio.runtime.runtimes.NAME`. " +
          "`crio config` shows what came out of all files. `--config-dir` names another directory; an empty one reads none.",
      ),
      heading("EXAMPLE"),
      paragraph("/etc/crio/crio.conf.d/50-runc.conf:"),
      example("[crio.runtime]", 'default_runtime = "runc"'),
      heading("SEE ALSO"),
      paragraph("crio(8), crio.conf(5)"),
    ],
  };
}

function innerTables(): Block[] {
  return [
    ...table("crio.runtime.runtimes.NAME", HANDLER),
    paragraph("One table for each runtime handler. A pod names the handler by its RuntimeClass."),
    ...table("crio.runtime.workloads.NAME", WORKLOAD),
    ...table("crio.runtime.workloads.NAME.resources", WORKLOAD_RESOURCES),
  ];
}

function table(path: string, options: OptionTable): Block[] {
  return [heading(`TABLE ${path}`), terms(Object.values(options).map(optionTerm))];
}

function optionTerm(option: Option): Term {
  const { key, initial, kind, doc, flag, env, reload, built, deprecated } = option;
  const words = wordsOf(option)?.map((word) => JSON.stringify(word)).join(", ");
  const ways = [...(flag === undefined ? [] : [`--${flag}`]), ...env.map((name) => `$${name}`)];
  const notes = [
    words === undefined
      ? `${KIND_NAME[kind]}, default ${JSON.stringify(initial)}.`
      : `One of ${words}; default ${JSON.stringify(initial)}.`,
    ...(reload ? ["Reload."] : []),
    ...(ways.length === 0 ? [] : [`Also ${ways.join(", ")}.`]),
    ...(deprecated === undefined ? [] : [`Deprecated: ${deprecated}.`]),
    ...(built ? [] : ["Accepted, without effect in this version."]),
  ].join(" ");
  return { term: key, text: [doc.replaceAll("\n", " "), `${notes[0]?.toUpperCase()}${notes.slice(1)}`] };
}
