import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ProfileChoice } from "../choices.ts";
import { parseSeccompProfile, type SeccompProfile } from "./profile.ts";
import { type OciSeccomp, resolveSeccomp, type SeccompMachine } from "./resolve.ts";

/** Profiles are a few tens of kilobytes. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Different profiles that are kept in parsed form; pods of one node share a few. */
const KEPT_PROFILES = 32;

/** The files that crio.conf names; an empty name is none. */
export interface SeccompFiles {
  readonly seccompProfile: string;
  readonly privilegedSeccompProfile: string;
  /** By handler; takes the place of `seccompProfile` for that handler's pods. */
  readonly handlers: ReadonlyMap<string, string>;
}

export interface SeccompDeps {
  readonly machine: SeccompMachine;
  /** Whether the kernel can filter system calls. */
  readonly supported: boolean;
  readonly log: Logger;
}

export interface SeccompRequest {
  /** Absent: the client asks for nothing, which is unconfined (as with CRI-O). */
  readonly choice: ProfileChoice | undefined;
  readonly privileged: boolean;
  readonly handler: string;
  /** The container's bounding set, as `CAP_X`. */
  readonly capabilities: readonly string[];
}

export interface AppliedSeccomp {
  /** `Unconfined`, `RuntimeDefault`, or the file. */
  readonly ref: string;
  /** Absent: system calls are not filtered. */
  readonly profile?: OciSeccomp;
}

const UNCONFINED: AppliedSeccomp = { ref: "Unconfined" };
const RUNTIME_DEFAULT = "RuntimeDefault";

/**
 * The seccomp profiles of this node. Files are read anew for each container, so that a change counts from the next one on;
 * what they hold is parsed and resolved once.
 */
export class SeccompProfiles {
  readonly #parsed = new Map<string, SeccompProfile>();
  readonly #resolved = new WeakMap<SeccompProfile, Map<string, OciSeccomp>>();
  #builtIn: Promise<SeccompProfile> | undefined;

  constructor(private files: SeccompFiles, private readonly deps: SeccompDeps) {}

  /** Takes other files from the next container on: for a reload of the configuration. */
  use(files: SeccompFiles): void {
    this.files = files;
  }

  /**
   * Reads all files of the configuration once, so that a mistake shows at the start and not with the first pod.
   *
   * @param files those of a configuration that may come; default: those in force
   * @throws FailedPreconditionError for a file that is not a profile
   */
  async check(files = this.files): Promise<void> {
    const { seccompProfile, privilegedSeccompProfile, handlers } = files;
    const { log, supported } = this.deps;
    if (!supported) {
      log.warn("this kernel has no seccomp filters: containers run without, and a profile by name is refused");
      return;
    }
    for (const file of new Set([seccompProfile, ...handlers.values()])) {
      if (file !== "" && await this.#read(file, "seccomp_profile") === undefined) {
        log.info(`seccomp profile ${file} is not there: the built-in one is used until it is`);
      }
    }
    if (privilegedSeccompProfile === "") return;
    if (await this.#read(privilegedSeccompProfile, "privileged_seccomp_profile") !== undefined) return;
    log.warn(`privileged_seccomp_profile ${privilegedSeccompProfile} is not there: privileged containers are refused`);
  }

  /**
   * The filter of one container.
   *
   * @throws FailedPreconditionError for a profile that is not there, is not valid, or cannot be applied by this kernel
   */
  async apply(request: SeccompRequest): Promise<AppliedSeccomp> {
    const choice = this.#choose(request);
    if (choice === undefined || choice.kind === "unconfined") return UNCONFINED;
    const { supported, log } = this.deps;
    if (!supported) {
      if (choice.kind === "localhost") {
        throw withoutFilters(choice.ref);
      }
      log.debug("container runs without a seccomp filter: the kernel has none");
      return UNCONFINED;
    }
    const named = choice.kind === "localhost";
    const profile = named ? await this.#named(choice.ref) : await this.#runtimeDefault(request.handler);
    return { ref: named ? choice.ref : RUNTIME_DEFAULT, profile: this.#resolve(profile, request.capabilities) };
  }

  /**
   * The filter of a container whose profile does not come from a file.
   *
   * @param given.ref what the profile is called
   * @throws FailedPreconditionError for a profile that is not valid, or cannot be applied by this kernel
   */
  applyText(
    given: { readonly ref: string; readonly text: string },
    capabilities: readonly string[],
  ): Promise<AppliedSeccomp> {
    const { ref, text } = given;
    if (!this.deps.supported) return Promise.reject(withoutFilters(ref));
    try {
      const profile = this.#parse(text, `seccomp profile ${ref}`);
      return Promise.resolve({ ref, profile: this.#resolve(profile, capabilities) });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A privileged container has a filter only where crio.conf says so, whatever it asks for. */
  #choose({ privileged, choice }: SeccompRequest): ProfileChoice | undefined {
    if (!privileged) return choice;
    const { privilegedSeccompProfile } = this.files;
    return privilegedSeccompProfile === "" ? undefined : { kind: "localhost", ref: privilegedSeccompProfile };
  }

  async #named(file: string): Promise<SeccompProfile> {
    const profile = await this.#read(file, "seccomp profile");
    if (profile !== undefined) return profile;
    throw new FailedPreconditionError(
      `seccomp profile ${file} is not on this node: put the file there, or ask for RuntimeDefault`,
    );
  }

  async #runtimeDefault(handler: string): Promise<SeccompProfile> {
    const file = this.files.handlers.get(handler) || this.files.seccompProfile;
    const own = file === "" ? undefined : await this.#read(file, "seccomp_profile");
    return own ??
      await (this.#builtIn ??= import("./default_profile.ts").then(({ builtInProfile }) => builtInProfile()));
  }

  /** Undefined when there is no such file. */
  async #read(file: string, what: string): Promise<SeccompProfile | undefined> {
    const text = await readText(file, what);
    return text === undefined ? undefined : this.#parse(text, `${what} ${file}`);
  }

  #parse(text: string, what: string): SeccompProfile {
    const known = this.#parsed.get(text);
    this.#parsed.delete(text);
    try {
      const profile = known ?? parseSeccompProfile(text);
      this.#parsed.set(text, profile);
      const [oldest] = this.#parsed.keys();
      if (this.#parsed.size > KEPT_PROFILES && oldest !== undefined) this.#parsed.delete(oldest);
      return profile;
    } catch (cause) {
      throw new FailedPreconditionError(`${what} is not a valid profile: ${messageOf(cause)}`, { cause });
    }
  }

  #resolve(profile: SeccompProfile, capabilities: readonly string[]): OciSeccomp {
    const bySet = this.#resolved.get(profile) ?? new Map<string, OciSeccomp>();
    this.#resolved.set(profile, bySet);
    const key = [...capabilities].sort().join();
    const known = bySet.get(key);
    if (known !== undefined) return known;
    if (bySet.size >= KEPT_PROFILES) bySet.clear();
    const resolved = resolveSeccomp(profile, {
      capabilities: new Set(capabilities),
      machine: this.deps.machine,
    });
    bySet.set(key, resolved);
    return resolved;
  }
}

function withoutFilters(ref: string): FailedPreconditionError {
  return new FailedPreconditionError(
    `seccomp profile ${ref}: this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER); run the pod on ` +
      "another node or ask for Unconfined",
  );
}

async function readText(file: string, what: string): Promise<string | undefined> {
  try {
    const { isFile, size } = await Deno.stat(file);
    if (!isFile || size > MAX_FILE_BYTES) {
      throw new FailedPreconditionError(`${what} ${file} is not a file of at most ${MAX_FILE_BYTES} bytes`);
    }
    return await Deno.readTextFile(file);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) return undefined;
    if (cause instanceof FailedPreconditionError) throw cause;
    throw new FailedPreconditionError(`${what} ${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
}
