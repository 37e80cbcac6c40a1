/** From a reference that a user wrote to the places where it is asked for, by the rules of registries.conf. */
import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../../base/errors.ts";
import {
  canonical,
  domainOf,
  type ImageReference,
  isShortName,
  parseReference,
  pathOf,
  pullTarget,
} from "../reference.ts";
import type { Mirror, RegistriesConfig, RegistryEntry, ShortNameMode } from "./registries_conf.ts";

/** Where the errors send people who want a short name to mean one image. */
const ALIAS_PLACE = "[aliases] of a file in /etc/containers/registries.conf.d";

const MAX_SHOWN_CHARS = 300;

/** One place that is asked for an image. */
export interface Endpoint {
  /** `host[:port]`, as the user or the administrator wrote it (`docker.io` stays). */
  readonly host: string;
  /** Repository path below the host. */
  readonly path: string;
  /** TLS is not verified, and plain HTTP is tried where HTTPS does not answer. */
  readonly insecure: boolean;
  readonly mirror: boolean;
}

/**
 * What a name may mean, best first: itself if it has a host, else its alias, else one reference per search registry.
 * Each result is a pull target: with a digest or a tag, not both.
 *
 * @throws InvalidArgumentError for bad names, for short names without a search registry, and in mode `enforcing` for
 *   short names that more than one search registry could hold
 */
export function candidates(
  text: string,
  options: { readonly config: RegistriesConfig; readonly shortNameMode?: ShortNameMode },
): readonly ImageReference[] {
  const { config, shortNameMode = config.shortNameMode } = options;
  const direct = parseReference(text);
  if (!isShortName(text)) return [pullTarget(direct)];
  const nameEnd = text.search(/[:@]/);
  const name = nameEnd < 0 ? text : text.slice(0, nameEnd);
  const suffix = text.slice(name.length);
  const alias = config.aliases.get(name);
  if (alias !== undefined && alias !== "") return [pullTarget(parseQualified(`${alias}${suffix}`, text))];
  const registries = config.searchRegistries;
  if (registries.length === 0) {
    throw new InvalidArgumentError(
      `image ${
        JSON.stringify(text)
      } has no registry host, and unqualified-search-registries is empty: write the full name, such as ${
        canonical(direct)
      }, or add an alias to ${ALIAS_PLACE}`,
    );
  }
  if (registries.length > 1 && shortNameMode === "enforcing") {
    throw new InvalidArgumentError(
      `short name mode is enforcing, and image ${JSON.stringify(text)} could come from ${
        registries.join(", ")
      }: write the full name, or add to ${ALIAS_PLACE}: ${JSON.stringify(name)} = ${
        JSON.stringify(`${registries[0]}/${name}`)
      }`,
    );
  }
  return registries.map((registry) => pullTarget(parseQualified(`${registry}/${text}`, text)));
}

/**
 * Where to ask for a reference, in order: its mirrors, then its location.
 *
 * @throws FailedPreconditionError when its registry is blocked
 */
export function endpointsOf(reference: ImageReference, config: RegistriesConfig): readonly Endpoint[] {
  const entry = entryFor(reference, config);
  if (entry === undefined) {
    return [{ host: domainOf(reference), path: pathOf(reference), insecure: false, mirror: false }];
  }
  if (entry.blocked) {
    throw new FailedPreconditionError(
      `registry ${entry.prefix} is blocked by ${entry.file}, so ${canonical(reference)} cannot be pulled`,
    );
  }
  const wanted = entry.mirrors.filter((mirror) => mirrorServes(mirror, reference));
  const mirrors = wanted.map((mirror) => rewritten(reference, { entry, to: mirror, mirror: true }));
  const { location, insecure } = entry;
  const own = location === undefined ? { insecure } : { location, insecure };
  return [...mirrors, rewritten(reference, { entry, to: own, mirror: false })];
}

/** The `[[registry]]` with the longest prefix that matches; tag and digest are not looked at, as in containers/image. */
export function entryFor(reference: ImageReference, config: RegistriesConfig): RegistryEntry | undefined {
  const text = reference.repository;
  let best: RegistryEntry | undefined;
  for (const entry of config.registries) {
    if (prefixEnd(text, entry.prefix) < 0) continue;
    if (best === undefined || entry.prefix.length > best.prefix.length) best = entry;
  }
  return best;
}

/** The index in `text` behind what `prefix` matched, or -1. A prefix ends at `/`, `:`, `@` or the end. */
function prefixEnd(text: string, prefix: string): number {
  let end = prefix.length;
  if (prefix.startsWith("*.")) {
    const suffix = prefix.slice(1);
    const slash = text.indexOf("/");
    const found = text.indexOf(suffix);
    if (found <= 0 || found > slash) return -1;
    end = found + suffix.length;
  } else if (!text.startsWith(prefix)) {
    return -1;
  }
  return end === text.length || "/:@".includes(text.charAt(end)) ? end : -1;
}

function rewritten(
  reference: ImageReference,
  rule: {
    readonly entry: RegistryEntry;
    readonly to: { readonly location?: string; readonly insecure: boolean };
    readonly mirror: boolean;
  },
): Endpoint {
  const text = canonical(reference);
  const { location, insecure } = rule.to;
  const target = location === undefined ? text : `${location}${text.slice(prefixEnd(text, rule.entry.prefix))}`;
  try {
    // "mirror/hub" would be the repository of that name on Docker Hub.
    if (isShortName(target)) throw new InvalidArgumentError("a location begins with a host, host.domain or host:port");
    const parsed = parseReference(target);
    return { host: domainOf(parsed), path: pathOf(parsed), insecure, mirror: rule.mirror };
  } catch (error) {
    throw new InvalidArgumentError(
      `${rule.entry.file}: registry ${rule.entry.prefix} rewrites ${text} to ${shown(target)}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function mirrorServes(mirror: Mirror, reference: ImageReference): boolean {
  if (mirror.pullFromMirror === "all") return true;
  return (mirror.pullFromMirror === "digest-only") === (reference.digest !== undefined);
}

function parseQualified(text: string, original: string): ImageReference {
  if (!isShortName(text)) return parseReference(text);
  throw new InvalidArgumentError(
    `image ${JSON.stringify(original)}: ${JSON.stringify(shown(text))} has no registry host`,
  );
}

/** What a configuration says, for an error. */
function shown(text: string): string {
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text;
}
