/** What the policy knows an image by: its transport and its scopes there, most particular first. */
import { canonical, domainOf, type ImageReference } from "../reference.ts";

/** An image to which a policy is applied. */
export interface PolicySubject {
  /** As in policy.json: `docker`, `oci`, `dir`, `docker-archive`, … */
  readonly transport: string;
  /** Without the empty one, which is the transport's default. */
  readonly scopes: readonly string[];
  /** For messages. */
  readonly name: string;
  /** What signatures have to claim, where the transport knows it. */
  readonly reference?: ImageReference;
}

/** An image of a registry: the reference, its repository, each parent, the host, and wildcards over that. */
export function dockerSubject(reference: ImageReference): PolicySubject {
  const scopes = [canonical(reference)];
  for (let name: string = reference.repository; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf("/")))) {
    scopes.push(name);
  }
  // A wildcard speaks of hosts whatever the port, as in containers/image.
  const [host = ""] = domainOf(reference).split(":", 1);
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) scopes.push(`*${host.slice(dot)}`);
  return { transport: "docker", scopes, name: canonical(reference), reference };
}

/**
 * An image in a file or directory of this node.
 *
 * @param path absolute, without symbolic links
 * @param options.image what names one image among several at that path, where there are several
 * @param options.reference the name that the image will have, where the place says it
 */
export function pathSubject(
  transport: "dir" | "oci" | "oci-archive" | "docker-archive",
  path: string,
  options: { readonly image?: string; readonly reference?: ImageReference } = {},
): PolicySubject {
  const { image = "", reference } = options;
  const known = reference === undefined ? {} : { reference };
  // An archive of Docker's has no scopes but the default.
  if (transport === "docker-archive") return { transport, scopes: [], name: `${transport}:${path}`, ...known };
  const scopes = transport === "dir" ? [] : [`${path}:${image}`];
  for (let parent = path; parent !== ""; parent = parent.slice(0, Math.max(0, parent.lastIndexOf("/")))) {
    scopes.push(parent);
  }
  return { transport, scopes, name: `${transport}:${path}${image === "" ? "" : `:${image}`}`, ...known };
}

/** Whether a policy may have this scope. What is not known of a transport is not checked. */
export function isScope(transport: string, scope: string): boolean {
  if (scope === "") return true;
  switch (transport) {
    case "dir":
      return isCleanPath(scope);
    case "oci":
    case "oci-archive":
      return isCleanPath(scope.split(":", 1)[0] ?? "");
    case "docker-archive":
    case "tarball":
      return false;
    default:
      return true;
  }
}

function isCleanPath(path: string): boolean {
  return path !== "/" && /^(?:\/[^/]+)+$/.test(path) && !/\/\.{1,2}(?:\/|$)/.test(path);
}
