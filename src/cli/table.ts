/** Text tables for terminals. */

/** A column: its title, and on which side its cells stand. */
export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Lines of a table, two blanks between columns; nothing that a cell says can move the cursor. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const clean = rows.map((row) => row.map(printable));
  const all = [columns.map(({ title }) => title), ...clean];
  const widths = columns.map((_, index) => Math.max(...all.map((row) => row[index]?.length ?? 0)));
  return all.map((row) =>
    columns.map(({ right }, index) => {
      const cell = row[index] ?? "";
      return right === true ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0);
    }).join("  ").trimEnd()
  );
}

/** What others named must not move the cursor. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}

/** `12.3 MB`: decimal, as registries count. */
export function decimalSize(bytes: number): string {
  return scaled(bytes, { base: 1000, units: ["B", "kB", "MB", "GB", "TB"] });
}

/** `12.3 MiB`: binary, as memory is counted. */
export function binarySize(bytes: number): string {
  return scaled(bytes, { base: 1024, units: ["B", "KiB", "MiB", "GiB", "TiB"] });
}

function scaled(bytes: number, { base, units }: { readonly base: number; readonly units: readonly string[] }): string {
  let value = bytes;
  let unit = 0;
  while (value >= base - 0.05 && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `3d`, `5h`, `12m`, `40s`: how long ago that was. */
export function age(rfc3339: string, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(rfc3339)) / 1000));
  for (const [unit, size] of [["d", 86_400], ["h", 3600], ["m", 60]] as const) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)}${unit}`;
  }
  return `${seconds}s`;
}
