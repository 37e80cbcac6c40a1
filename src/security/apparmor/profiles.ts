import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { runCommand } from "../../linux/command.ts";
import type { ProfileChoice } from "../choices.ts";
import { defaultProfileText } from "./default_profile.ts";

/** The profile that is part of this program. */
const BUILT_IN = "crio-default";
export const UNCONFINED = "unconfined";
/** One line `name (mode)` for each loaded profile. */
const LOADED_PROFILES = "/sys/kernel/security/apparmor/profiles";
const PARSER_LIMIT_MS = 60_000;

export interface AppArmorDeps {
  /** Whether the kernel confines by AppArmor. */
  readonly enabled: boolean;
  readonly log: Logger;
  /** Gives the kernel a profile's text; default: by apparmor_parser. */
  readonly load?: (text: string) => Promise<void>;
  /** The kernel's list of loaded profiles. */
  readonly loadedProfiles?: string;
}

/** The AppArmor profiles of this node. */
export class AppArmorProfiles {
  #default: string;
  #loading: Promise<void> | undefined;

  /**
   * @param defaultProfile `apparmor_profile` of crio.conf: a name, or `unconfined`; empty means the built-in one
   */
  constructor(defaultProfile: string, private readonly deps: AppArmorDeps) {
    this.#default = defaultProfile === "" ? BUILT_IN : defaultProfile;
  }

  /** Takes another default from the next container on: for a reload of the configuration. */
  use(defaultProfile: string): void {
    const name = defaultProfile === "" ? BUILT_IN : defaultProfile;
    if (name === this.#default) return;
    this.#default = name;
    this.start();
  }

  /**
   * Begins to load the built-in profile where it is the default: compiling it takes a second, which only the first
   * container waits for. What is missing is said in the log.
   */
  start(): void {
    const { enabled, log } = this.deps;
    if (!enabled || this.#default === UNCONFINED) return;
    const ready = this.#default === BUILT_IN ? this.#loadBuiltIn() : this.#isLoaded(this.#default);
    ready.then((isThere) => {
      if (isThere === false) log.warn(`apparmor_profile ${this.#default} is not loaded: ${REMEDY}`);
    }, (error) => log.warn(`AppArmor profile ${BUILT_IN} could not be loaded: ${messageOf(error)}; ${REMEDY}`));
  }

  /**
   * The profile of one container; undefined where the runtime should set none.
   *
   * @param request.choice absent: the client asks for nothing, and gets the default where there is one
   * @throws FailedPreconditionError for a profile that is not loaded, or that this kernel cannot apply
   */
  async apply(
    request: { readonly choice: ProfileChoice | undefined; readonly privileged: boolean },
  ): Promise<string | undefined> {
    const { choice, privileged } = request;
    const { enabled, log } = this.deps;
    if (!enabled) {
      if (choice?.kind !== "localhost" || privileged) return undefined;
      throw new FailedPreconditionError(
        `AppArmor profile ${choice.ref}: AppArmor is not enabled on this node; run the pod on another one`,
      );
    }
    if (privileged) return undefined;
    if (choice?.kind === "unconfined") return UNCONFINED;
    const name = choice?.kind === "localhost" ? choice.ref : this.#default;
    if (name === UNCONFINED) return name;
    const problem = await this.#problemOf(name);
    if (problem === undefined) return name;
    if (choice !== undefined) throw new FailedPreconditionError(`AppArmor profile ${name} is not loaded: ${problem}`);
    log.warn(`a container that asks for no AppArmor profile runs without: ${name} is not loaded: ${problem}`);
    return undefined;
  }

  /** Why a profile is not there; undefined when it is, after loading the built-in one anew if somebody took it away. */
  async #problemOf(name: string): Promise<string | undefined> {
    await this.#loading?.catch(() => {});
    if (await this.#isLoaded(name)) return undefined;
    if (name !== BUILT_IN) return REMEDY;
    try {
      await this.#loadBuiltIn();
      return undefined;
    } catch (error) {
      return `${messageOf(error)}; ${REMEDY}`;
    }
  }

  #loadBuiltIn(): Promise<void> {
    const { load = loadByParser, log } = this.deps;
    return this.#loading ??= load(defaultProfileText(BUILT_IN))
      .then(() => log.info(`Loaded AppArmor profile ${BUILT_IN}`))
      .finally(() => {
        this.#loading = undefined;
      });
  }

  /** Where the list cannot be read nobody can tell: the runtime will, when it sets the profile. */
  async #isLoaded(name: string): Promise<boolean> {
    try {
      const list = await Deno.readTextFile(this.deps.loadedProfiles ?? LOADED_PROFILES);
      return list.split("\n").some((line) => line.replace(/ \([a-z]+\)$/, "") === name);
    } catch (error) {
      this.deps.log.debug(`loaded AppArmor profiles cannot be listed: ${messageOf(error)}`);
      return true;
    }
  }
}

const REMEDY = "load it by apparmor_parser (Debian package apparmor), or name another one in apparmor_profile";

async function loadByParser(text: string): Promise<void> {
  // `-K`: no cache of ours on disk; `-r`: replaces one of the same name. Read from standard input.
  const argv = ["/usr/bin/env", "apparmor_parser", "-K", "-r"];
  await runCommand(argv, { stdin: text, signal: AbortSignal.timeout(PARSER_LIMIT_MS) });
}
