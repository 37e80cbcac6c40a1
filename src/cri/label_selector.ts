/** Whether `labels` has each of the wanted ones with that value. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of wanted) {
    if (!Object.hasOwn(labels, key) || labels[key] !== value) return false;
  }
  return true;
}
