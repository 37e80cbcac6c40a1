import type { Config } from "../config/schema.ts";
import type { Logger } from "../base/logger.ts";
import type { Host } from "../linux/host.ts";
import { AppArmorProfiles } from "../security/apparmor/profiles.ts";
import { type AppliedSeccomp, type SeccompFiles, SeccompProfiles } from "../security/seccomp/profiles.ts";
import type { SeccompArtifact } from "./seccomp_artifact.ts";
import type { SecurityContext } from "./types.ts";

/** What the kernel's security modules do to one container, for its runtime configuration. */
export interface Confinement {
  readonly seccomp: AppliedSeccomp;
  /** Absent: the runtime sets none. */
  readonly apparmorProfile?: string;
}

/** Decides how containers of this node are confined. */
export interface Confiner {
  /** @throws FailedPreconditionError for a profile by name that cannot be applied */
  confine(request: ConfinementRequest): Promise<Confinement>;
}

export interface ConfinementRequest {
  readonly security: Pick<SecurityContext, "privileged" | "seccomp" | "apparmor">;
  /** Name of the runtime handler. */
  readonly handler: string;
  /** The bounding set, as `CAP_X`. */
  readonly capabilities: readonly string[];
  /** For a container that asks for nothing. */
  readonly seccompArtifact?: SeccompArtifact;
}

/** The profiles of this node, by its configuration. */
export class NodeConfinement implements Confiner {
  private constructor(private readonly seccomp: SeccompProfiles, private readonly apparmor: AppArmorProfiles) {}

  /** @throws FailedPreconditionError when the configuration names a file that is not a profile */
  static async open({ config, host, log }: { config: Config; host: Host; log: Logger }): Promise<NodeConfinement> {
    const machine = { arch: Deno.build.arch, kernel: host.kernel };
    const seccomp = new SeccompProfiles(seccompFiles(config), { machine, supported: host.seccomp, log });
    await seccomp.check();
    const apparmor = new AppArmorProfiles(config.runtime.apparmorProfile, { enabled: host.apparmor, log });
    apparmor.start();
    return new NodeConfinement(seccomp, apparmor);
  }

  /**
   * Looks at another configuration's profiles.
   *
   * @returns takes them from the next container on
   * @throws FailedPreconditionError when it names a file that is not a profile
   */
  async reload(config: Config): Promise<() => void> {
    const files = seccompFiles(config);
    await this.seccomp.check(files);
    return () => {
      this.seccomp.use(files);
      this.apparmor.use(config.runtime.apparmorProfile);
    };
  }

  async confine({ security, handler, capabilities, seccompArtifact }: ConfinementRequest): Promise<Confinement> {
    const { privileged } = security;
    const [seccomp, apparmorProfile] = await Promise.all([
      seccompArtifact === undefined
        ? this.seccomp.apply({ choice: security.seccomp, privileged, handler, capabilities })
        : this.seccomp.applyText(seccompArtifact, capabilities),
      this.apparmor.apply({ choice: security.apparmor, privileged }),
    ]);
    return { seccomp, ...(apparmorProfile === undefined ? {} : { apparmorProfile }) };
  }
}

function seccompFiles({ runtime, handlers }: Config): SeccompFiles {
  const { seccompProfile, privilegedSeccompProfile } = runtime;
  return {
    seccompProfile,
    privilegedSeccompProfile,
    handlers: new Map([...handlers.values()].map((handler) => [handler.name, handler.seccompProfile])),
  };
}
