import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../base/errors.ts";
import { parseYaml } from "../config/yaml.ts";

/** Classes of cache and memory bandwidth: which there are says a file in goresctrl's format, what they get the kernel's resctrl groups. */
export class RdtClasses {
  private constructor(
    private readonly names: ReadonlySet<string> | undefined,
    private readonly options: { readonly path: string; readonly resctrl: string },
  ) {}

  /**
   * @param path of the file; empty: there is none, and no class
   * @throws InvalidArgumentError for a file that cannot be read
   */
  static async read(path: string, { resctrl = "/sys/fs/resctrl" } = {}): Promise<RdtClasses> {
    if (path === "") return new RdtClasses(undefined, { path, resctrl });
    try {
      const names = classNames(await parseYaml(await Deno.readTextFile(path)));
      return new RdtClasses(names, { path, resctrl });
    } catch (cause) {
      throw new InvalidArgumentError(`rdt_config_file ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * The group that a container of this class goes into.
   *
   * @throws FailedPreconditionError where the node has no such class or group
   */
  async closId(name: string): Promise<string> {
    const { path, resctrl } = this.options;
    const refuse = (why: string): never => {
      throw new FailedPreconditionError(`RDT class ${JSON.stringify(name)}: ${why}`);
    };
    if (this.names === undefined) return refuse("rdt_config_file is not configured on this node");
    if (!this.names.has(name)) refuse(`not in ${path} (there are: ${[...this.names].join(", ") || "none"})`);
    const isThere = await Deno.stat(`${resctrl}/${name}/schemata`).then(() => true, () => false);
    return isThere ? name : refuse(`there is no resctrl group ${resctrl}/${name}; crio does not make the groups`);
  }
}

function classNames(document: unknown): ReadonlySet<string> {
  const partitions = entriesOf(field(document, "partitions") ?? {}, "partitions");
  const names = partitions.flatMap(([name, partition]) =>
    entriesOf(field(partition, "classes") ?? {}, `partitions.${name}.classes`).map(([key]) => key)
  );
  const wrong = names.find((name) => name === "" || name === "." || name === ".." || /[/\n]/.test(name));
  if (wrong !== undefined) throw new TypeError(`${JSON.stringify(wrong)} is not the name of a group`);
  return new Set(names);
}

function field(value: unknown, name: string): unknown {
  return entriesOf(value, name).find(([key]) => key.toLowerCase() === name)?.[1];
}

function entriesOf(value: unknown, place: string): Array<[string, unknown]> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return Object.entries(value);
  throw new TypeError(`${place} is not an object`);
}
