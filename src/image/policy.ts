/**
 * policy.json (containers-policy.json(5)), as far as it decides without looking at signatures: `insecureAcceptAnything`
 * and `reject`. Requirements that need a signature are refused, never passed over.
 *
 * @module
 */
import { type ErrorKind, FailedPreconditionError, messageOf, PodError, UnimplementedError } from "../base/errors.ts";
import { canonical, domainOf, type ImageReference } from "./reference.ts";

/** The policy does not let an image in. */
export class PolicyError extends PodError {
  override readonly kind: ErrorKind = "signature_validation_failed";
}

interface Requirement {
  readonly type: string;
}

export interface Policy {
  readonly file: string;
  readonly default: readonly Requirement[];
  /** Scopes of the transport `docker`; the empty one is the transport's default. */
  readonly docker: ReadonlyMap<string, readonly Requirement[]>;
}

const DEFAULT_FILE = "/etc/containers/policy.json";

/** @throws FailedPreconditionError naming the file and what is wrong with it */
export async function loadPolicy(file: string = DEFAULT_FILE): Promise<Policy> {
  try {
    return parsePolicy(await Deno.readTextFile(file), file);
  } catch (error) {
    if (error instanceof PodError) throw error;
    throw new FailedPreconditionError(
      `read the signature policy ${file}: ${messageOf(error)}; the option signature_policy names another file`,
      { cause: error },
    );
  }
}

/** @throws FailedPreconditionError */
export function parsePolicy(text: string, file: string): Policy {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw wrong(file, `it is not valid JSON: ${messageOf(error)}`);
  }
  const { default: fallback, transports = {}, ...unknown } = objectOf(document, { file, what: "it" });
  const [extra] = Object.keys(unknown);
  if (extra !== undefined) throw wrong(file, `the key ${JSON.stringify(extra)} is not known`);
  if (fallback === undefined) throw wrong(file, "it has no default");
  const docker = objectOf(objectOf(transports, { file, what: "transports" })["docker"] ?? {}, { file, what: "docker" });
  return {
    file,
    default: requirements(fallback, { file, what: "default" }),
    docker: new Map(
      Object.entries(docker).map(([scope, list]) => [scope, requirements(list, { file, what: JSON.stringify(scope) })]),
    ),
  };
}

/**
 * Checks whether a reference may be pulled at all.
 *
 * @throws PolicyError when it is rejected; UnimplementedError when its rules need signatures
 */
export function checkPolicy(policy: Policy, reference: ImageReference): void {
  const { scope, list } = rulesFor(policy, reference);
  for (const { type } of list) {
    if (type === "insecureAcceptAnything") continue;
    const rule = `${policy.file} (${scope === undefined ? "default" : `scope ${JSON.stringify(scope)}`})`;
    if (type === "reject") throw new PolicyError(`${canonical(reference)} is rejected by the policy ${rule}`);
    throw new UnimplementedError(
      `${canonical(reference)} has to be ${type} by the policy ${rule}: signatures are not supported yet`,
    );
  }
}

function rulesFor(
  policy: Policy,
  reference: ImageReference,
): { readonly scope: string | undefined; readonly list: readonly Requirement[] } {
  for (const scope of scopesOf(reference)) {
    const list = policy.docker.get(scope);
    if (list !== undefined) return { scope, list };
  }
  return { scope: undefined, list: policy.default };
}

/** Most particular first: the reference, its repository, each parent, the host, wildcards of it, the transport. */
function* scopesOf(reference: ImageReference): Iterable<string> {
  yield canonical(reference);
  for (let name: string = reference.repository; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf("/")))) {
    yield name;
  }
  const host = domainOf(reference);
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) yield `*${host.slice(dot)}`;
  yield "";
}

interface Where {
  readonly file: string;
  readonly what: string;
}

function requirements(value: unknown, where: Where): readonly Requirement[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw wrong(where.file, `${where.what} is not a list of requirements`);
  }
  return value.map((entry) => {
    const { type } = objectOf(entry, where);
    if (typeof type !== "string" || type === "") {
      throw wrong(where.file, `${where.what} has a requirement without a type`);
    }
    return { type };
  });
}

function objectOf(value: unknown, where: Where): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw wrong(where.file, `${where.what} is not an object`);
}

function wrong(file: string, reason: string): FailedPreconditionError {
  return new FailedPreconditionError(`signature policy ${file}: ${reason}`);
}
