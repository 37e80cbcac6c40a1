import { PLACES } from "../config/schema.ts";
import type { Option } from "../config/option.ts";

const HEAD = `crio - Kubernetes container runtime (CRI v1)

USAGE:
   crio [global options] [command [command options]]

   Without a command the daemon runs in the foreground.

COMMANDS:
   check [--quick] [--age 24h] [--repair [--force]] [--json]
                                            look for damage in the store of images and containers
   config [--default]                       print the configuration as commented TOML
   status [--socket PATH] info|config|containers --id ID
                                            ask a running daemon
   status [--socket PATH] pulls [--json] [--follow]
                                            what is being pulled: drawn on a terminal until the last pull has ended
   wipe [--force]                           remove pods, containers and images after a reboot or an upgrade
   version [--json] [--verbose]             print version and build
   help                                     print this text

EXIT CODES:
   0 done; 1 failed, the reason is on standard error; 2 wrong command line; 3 check found damage that is left;
   128+n the daemon was told twice to stop, by signal n

GLOBAL OPTIONS:
   --config value, -c value      configuration file; "" reads none (default: /etc/crio/crio.conf)
   --config-dir value, -d value  directory of drop-in files, read in lexical order; "" reads none
                                 (default: /etc/crio/crio.conf.d)
   --runtimes value              runtime handler, name:path:root:type:privileged_without_host_devices:config_path:
                                 container_min_memory; repeatable [$CONTAINER_RUNTIMES]
   --help, -h                    print this text
   --version, -v                 print the version
`;

/** The text of `crio --help`, made from the schema. */
export function helpText(): string {
  const rows = PLACES
    .filter(({ option }) => option.flag !== undefined && !option.hidden)
    .sort((left, right) => (left.option.flag ?? "") < (right.option.flag ?? "") ? -1 : 1)
    .map(({ option }) => row(option));
  return HEAD + rows.join("");
}

function row(option: Option): string {
  const value = option.kind === "boolean" ? "" : " value";
  const names = [`--${option.flag}`, ...option.aliases.map((alias) => alias.length === 1 ? `-${alias}` : `--${alias}`)];
  const initial = JSON.stringify(option.initial);
  const env = option.env.map((name) => ` [$${name}]`).join("");
  return `   ${names.map((name) => name + value).join(", ")}\n` +
    `         ${option.doc.replaceAll("\n", "\n         ")} (default: ${initial})${env}\n`;
}
