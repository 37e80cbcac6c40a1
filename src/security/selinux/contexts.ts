import { type Label, parseLabel } from "./label.ts";

/** Labels of containers before levels and requests. */
export interface ContainerContexts {
  readonly process: Label;
  readonly file: Label;
  /** Of systemd and other init systems. */
  readonly init: Label;
}

const label = (type: string, role = "system_r"): Label => ({ user: "system_u", role, type, level: "s0" });

/** What container-selinux ships. */
const DEFAULTS: ContainerContexts = {
  process: label("container_t"),
  file: label("container_file_t", "object_r"),
  init: label("container_init_t"),
};

/** Reads the policy's labels for containers, selinux_lxc_contexts(5); what it does not say is as distributions have it. */
export async function readContainerContexts({ root = "" } = {}): Promise<ContainerContexts> {
  const config = await textOf(`${root}/etc/selinux/config`);
  const policy = /^\s*SELINUXTYPE\s*=\s*([\w-]+)/m.exec(config)?.[1] ?? "targeted";
  return parseContainerContexts(await textOf(`${root}/etc/selinux/${policy}/contexts/lxc_contexts`));
}

/** Lines `name = "label"`. */
export function parseContainerContexts(text: string): ContainerContexts {
  const named = (name: string): Label | undefined => {
    const value = new RegExp(`^\\s*${name}\\s*=\\s*"?([^"\\n]+?)"?\\s*$`, "m").exec(text)?.[1];
    return value === undefined ? undefined : parseLabel(value);
  };
  return {
    process: named("process") ?? DEFAULTS.process,
    file: named("file") ?? DEFAULTS.file,
    init: named("init_process") ?? DEFAULTS.init,
  };
}

async function textOf(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}
