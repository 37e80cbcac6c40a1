/** What of this machine decides whether a spec can run at all. */
export interface HostFacts {
  readonly apparmor: boolean;
  readonly selinux: boolean;
}

/** Asks the kernel, not the daemon. */
export async function hostFacts(): Promise<HostFacts> {
  const apparmor = await Deno.readTextFile("/sys/module/apparmor/parameters/enabled").catch(() => "");
  const selinux = await Deno.readTextFile("/sys/fs/selinux/enforce").catch(() => undefined);
  return { apparmor: apparmor.startsWith("Y"), selinux: selinux !== undefined };
}
