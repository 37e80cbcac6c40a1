/** `0660`, as YAML 1.1 writes a file mode. */
const OCTAL = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  test: /^0[0-7]+$/,
  resolve: (digits: string): number => Number.parseInt(digits, 8),
};

/**
 * What a YAML text holds: YAML 1.2, and the octal numbers of 1.1. The parser is loaded for the first text: most nodes have none.
 *
 * @throws an error with line and column
 */
export async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import("./_yaml_parser.ts");
  return parse(text, { customTags: (tags) => [OCTAL, ...tags] });
}
