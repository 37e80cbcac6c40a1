import { messageOf, PodError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { AUTH_FILES } from "../registries/registries_conf.ts";
import { type AuthAnswer, type AuthFile, type AuthFileOptions, authFiles, readAuthFile } from "./auth_file.ts";
import { askHelper } from "./docker_credential.ts";
import type { Credentials } from "./credentials.ts";

export interface CredentialSearch {
  /** `credential-helpers` of registries.conf. */
  readonly helpers: readonly string[];
  /** One-shot credentials: takes the place of all files. */
  readonly namespaced?: AuthFile;
  readonly signal: AbortSignal;
}

/** What was found, and what went wrong on the way. */
export interface FoundCredentials {
  readonly credentials?: Credentials;
  /** Why there may be none: for the error of a registry that wants some. Without secrets. */
  readonly problem?: string;
}

export interface CredentialSourceOptions extends AuthFileOptions {
  /** Default 15 s. */
  readonly helperTimeoutMs?: number;
}

/** Looks for the credentials of repositories in files and helper programs of this node, anew each time. */
export class CredentialSource {
  constructor(private readonly options: CredentialSourceOptions, private readonly log: Logger) {}

  /**
   * The first that files and helpers have. One that fails is passed over with a warning: most images are public, and
   * a registry that wants credentials says so.
   *
   * @param repository `host[:port]/path`
   * @throws the signal's reason
   */
  async find(repository: string, search: CredentialSearch): Promise<FoundCredentials> {
    const problems: string[] = [];
    for (const helper of search.helpers) {
      try {
        const credentials = helper === AUTH_FILES
          ? await this.#inFiles(repository, { ...search, problems })
          : await this.#ask({ helper, server: repository.split("/")[0] ?? "" }, search.signal);
        if (credentials !== undefined) return { credentials };
      } catch (error) {
        search.signal.throwIfAborted();
        if (!(error instanceof PodError)) throw error;
        this.#note(error, { repository, problems });
      }
    }
    return problems.length === 0 ? {} : { problem: problems.join("; ") };
  }

  async #inFiles(
    repository: string,
    search: CredentialSearch & { readonly problems: string[] },
  ): Promise<Credentials | undefined> {
    const { namespaced, problems, signal } = search;
    if (namespaced !== undefined) return await this.#credentials(namespaced.find(repository), signal);
    for (const place of authFiles(this.options)) {
      try {
        const found = await this.#credentials((await readAuthFile(place))?.find(repository), signal);
        if (found !== undefined) return found;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof PodError)) throw error;
        this.#note(error, { repository, problems });
      }
    }
    return undefined;
  }

  async #credentials(answer: AuthAnswer | undefined, signal: AbortSignal): Promise<Credentials | undefined> {
    if (answer === undefined) return undefined;
    return answer.kind === "credentials" ? answer.credentials : await this.#ask(answer, signal);
  }

  async #ask(
    what: { readonly helper: string; readonly server: string },
    signal: AbortSignal,
  ): Promise<Credentials | undefined> {
    const { environment, helperTimeoutMs } = this.options;
    return await askHelper(what.helper, what.server, {
      environment,
      signal,
      ...(helperTimeoutMs === undefined ? {} : { timeoutMs: helperTimeoutMs }),
    });
  }

  #note(error: PodError, context: { readonly repository: string; readonly problems: string[] }): void {
    context.problems.push(messageOf(error));
    this.log.warn(`no credentials from one source: ${messageOf(error)}`, { repository: context.repository });
  }
}
