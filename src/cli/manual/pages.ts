import { COMMANDS, type CommandSpec, commandSpec, EXIT_CODES } from "../commands.ts";
import { type FlagSpec, spellings } from "../flags.ts";
import { globalFlags } from "../global_flags.ts";
import { configDropInPage, configPage } from "./config_pages.ts";
import { type Block, example, heading, type Page, paragraph, type Term, terms } from "./document.ts";

const FILES: readonly Term[] = [
  { term: "/etc/crio/crio.conf, /etc/crio/crio.conf.d", text: ["Configuration, see crio.conf(5) and crio.conf.d(5)."] },
  {
    term: "/etc/containers/registries.conf, /etc/containers/policy.json, /etc/containers/storage.conf",
    text: [
      "Registries and mirrors, trusted signatures, and the store of images and containers.",
    ],
  },
  { term: "/etc/cni/net.d, /opt/cni/bin", text: ["Networks of pods and their plugins."] },
  { term: "/var/run/crio/crio.sock", text: ["The socket: CRI v1 (gRPC), and the HTTP API that crio-status(8) asks."] },
  { term: "/var/lib/containers/storage", text: ["Images and containers, shared with podman and skopeo."] },
];

const SIGNALS: readonly Term[] = [
  { term: "SIGTERM, SIGINT", text: ["End the daemon; containers keep running. The second one ends it at once."] },
  {
    term: "SIGHUP",
    text: [
      "Reads the configuration again, as `crio reload` does; options that need no restart are marked in crio.conf(5).",
    ],
  },
];

/** crio(8). */
function mainPage(): Page {
  return {
    name: "crio",
    section: 8,
    title: "Kubernetes container runtime (CRI v1)",
    blocks: [
      heading("SYNOPSIS"),
      paragraph("`crio` [global options] [command [command options]]"),
      heading("DESCRIPTION"),
      paragraph(
        "Runs pods and containers for a kubelet, which asks it by the Kubernetes Container Runtime Interface, version 1. Without a " +
          "command the daemon runs in the foreground. Containers outlive it: it can be stopped, replaced and started again.",
      ),
      paragraph(
        "Options come from crio.conf(5), then from its drop-in files, then from environment variables, then from the command line; " +
          "the last one counts. Options that take lists are given several times, or once with commas.",
      ),
      heading("COMMANDS"),
      ...COMMANDS.flatMap((command) => commandBlocks(command)),
      heading("GLOBAL OPTIONS"),
      terms(globalFlags().filter(({ hidden }) => hidden !== true).map(flagTerm)),
      heading("SIGNALS"),
      terms(SIGNALS),
      heading("EXIT STATUS"),
      terms(EXIT_CODES.map(([term, text]) => ({ term, text: [`${text}.`] }))),
      heading("FILES"),
      terms(FILES),
      heading("SEE ALSO"),
      paragraph("crio.conf(5), crio.conf.d(5), crio-status(8), conmon(8), crun(1)"),
    ],
  };
}

/** crio-status(8). */
function statusPage(): Page {
  const status = commandSpec("status");
  return {
    name: "crio-status",
    section: 8,
    title: "ask a running crio",
    blocks: [
      heading("SYNOPSIS"),
      paragraph("`crio-status` [options] command [command options]"),
      paragraph("`crio status` [options] command [command options]"),
      heading("DESCRIPTION"),
      paragraph(
        "Asks the daemon over the HTTP API on its socket, and changes nothing. The program is crio under another name: a symbolic " +
          "link `crio-status` to it does the same as `crio status`.",
      ),
      heading("OPTIONS"),
      paragraph("They may stand before the command and behind it."),
      terms((status.flags ?? []).map(flagTerm)),
      heading("COMMANDS"),
      ...(status.commands ?? []).flatMap((command) => commandBlocks(command)),
      heading("EXIT STATUS"),
      terms(EXIT_CODES.slice(0, 3).map(([term, text]) => ({ term, text: [`${text}.`] }))),
      heading("EXAMPLE"),
      example("crio status info", "crio status containers --id 5f3c", "crio-status --socket /run/crio/crio.sock pulls"),
      heading("SEE ALSO"),
      paragraph("crio(8), crio.conf(5)"),
    ],
  };
}

function commandBlocks(command: CommandSpec, path = command.name): Block[] {
  const { flags = [], words, aliases = [], text = [], exits = [], commands = [] } = command;
  const usage = [path, ...(words === undefined ? [] : [`[${words.join("|")}]`])].join(" ");
  const also = aliases.length === 0 ? "" : ` Also ${aliases.map((name) => `\`${name}\``).join(", ")}.`;
  return [
    heading(usage, 2),
    paragraph(`${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.${also}`),
    ...text.map(paragraph),
    ...(flags.length === 0 ? [] : [terms(flags.map(flagTerm))]),
    ...exits.map(([code, meaning]) => paragraph(`Exit status ${code}: ${meaning}.`)),
    ...(commands.length === 0 ? [] : [paragraph(`Commands: ${commands.map(({ name }) => `\`${name}\``).join(", ")}.`)]),
  ];
}

function flagTerm(flag: FlagSpec): Term {
  const doc = flag.doc ?? "";
  return { term: spellings(flag).join(", "), text: [`${doc[0]?.toUpperCase() ?? ""}${doc.slice(1)}`] };
}

/** All manual pages, by name. */
export const PAGES: ReadonlyMap<string, () => Page> = new Map([
  ["crio", mainPage],
  ["crio.conf", configPage],
  ["crio.conf.d", configDropInPage],
  ["crio-status", statusPage],
]);
