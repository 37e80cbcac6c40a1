/** Where a user keeps configuration; root's home where nothing says another (services of systemd have no HOME). */
export function configHome(environment: Readonly<Record<string, string | undefined>>): string {
  return environment["XDG_CONFIG_HOME"] || `${environment["HOME"] || "/root"}/.config`;
}
