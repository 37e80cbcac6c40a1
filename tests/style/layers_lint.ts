/**
 * The layer rule as a lint plugin: a file under `src/` imports only lower ranks or its own top folder, and a file
 * whose name starts with `_` is imported only from its own folder. Type imports count. Ranks are those of the design.
 *
 * @module
 */

/** Rank of each top-level entry of `src/`; a lower rank never imports a higher or an equal one. */
export const RANK: Readonly<Record<string, number>> = {
  base: 0,
  linux: 1,
  log: 1,
  metrics: 1,
  config: 1,
  state: 2,
  cgroup: 2,
  network: 2,
  storage: 2,
  oci: 2,
  nri: 2,
  performance: 2,
  security: 2,
  streaming: 2,
  image: 3,
  container: 4,
  sandbox: 5,
  cri: 6,
  status: 6,
  plugins: 6,
  node: 7,
  "daemon.ts": 7.5,
  cli: 8,
};

/** Why `to` may not be imported from `from` (both absolute paths), or undefined when it may. */
export function layerViolation(from: string, to: string): string | undefined {
  const source = place(from);
  const target = place(to);
  if (target === undefined) return undefined;
  const file = to.slice(to.lastIndexOf("/") + 1);
  if (file.startsWith("_") && folder(from) !== folder(to)) return `${file} is private to its folder`;
  if (source === undefined || source === target) return undefined;
  const sourceRank = RANK[source];
  const targetRank = RANK[target];
  if (sourceRank === undefined) return `src/${source} has no rank: add it to RANK`;
  if (targetRank === undefined) return `src/${target} has no rank: add it to RANK`;
  if (targetRank < sourceRank) return undefined;
  return `src/${source} (rank ${sourceRank}) must not import src/${target} (rank ${targetRank})`;
}

function place(path: string): string | undefined {
  return /\/src\/([^/]+)/.exec(path)?.[1];
}

function folder(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function check(context: Deno.lint.RuleContext, node: Deno.lint.Node, specifier: unknown): void {
  if (typeof specifier !== "string" || !specifier.startsWith(".")) return;
  const to = new URL(specifier, `file://${context.filename}`).pathname;
  const message = layerViolation(context.filename, to);
  if (message !== undefined) context.report({ node, message });
}

const plugin: Deno.lint.Plugin = {
  name: "crio",
  rules: {
    layers: {
      create(context): Deno.lint.LintVisitor {
        return {
          ImportDeclaration(node): void {
            check(context, node, node.source.value);
          },
          ExportNamedDeclaration(node): void {
            if (node.source !== null) check(context, node, node.source.value);
          },
          ExportAllDeclaration(node): void {
            check(context, node, node.source.value);
          },
          ImportExpression(node): void {
            if (node.source.type === "Literal") check(context, node, node.source.value);
          },
        };
      },
    },
  },
};

// The lint plugin interface asks for a default export.
export default plugin;
