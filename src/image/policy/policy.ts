/** The policy files of a node, and what they say about one image. */
import { type ErrorKind, FailedPreconditionError, messageOf, PodError } from "../../base/errors.ts";
import { configHome } from "../config_home.ts";
import { canonical } from "../reference.ts";
import { parsePolicy, type Policy } from "./parse_policy.ts";
import type { Requirement, SignatureRequirement, TrustDemand } from "./requirement.ts";
import type { PolicySubject } from "./scopes.ts";

/** The policy does not let an image in. The kubelet knows it by the marker that `cri/status.ts` puts before it. */
export class PolicyError extends PodError {
  override readonly kind: ErrorKind = "signature_validation_failed";
}

/** The administrator's directory, and the vendor's. */
const SYSTEM_DIRECTORIES = ["/etc/containers", "/usr/share/containers"];

/**
 * Where the policy of the node is (containers-config(5)): where CONTAINERS_POLICY_JSON says, else the user's, the
 * administrator's or the vendor's file; the administrator's where there is none.
 *
 * @param options.systemDirectories the administrator's and the vendor's directory
 */
export async function systemPolicyFile(
  environment: Readonly<Record<string, string | undefined>>,
  options: { readonly systemDirectories?: readonly string[] } = {},
): Promise<string> {
  const { systemDirectories = SYSTEM_DIRECTORIES } = options;
  const named = environment["CONTAINERS_POLICY_JSON"] ?? "";
  if (named !== "") return named;
  for (const directory of [`${configHome(environment)}/containers`, ...systemDirectories]) {
    if (await exists(`${directory}/policy.json`)) return `${directory}/policy.json`;
  }
  return `${systemDirectories[0]}/policy.json`;
}

/** The policy of a namespace, if the directory has one. @throws what the file system says but "not found" */
export async function namespacePolicyFile(directory: string, namespace: string): Promise<string | undefined> {
  // A namespace is a DNS label; what is none has no file.
  if (namespace === "" || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(namespace)) return undefined;
  const file = `${directory}/${namespace}.json`;
  return await exists(file) ? file : undefined;
}

/** @throws FailedPreconditionError naming the file and what is wrong with it */
export async function loadPolicy(file: string): Promise<Policy> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw new FailedPreconditionError(
      `read the signature policy ${file}: ${messageOf(error)}; the option signature_policy names another file`,
      { cause: error },
    );
  }
  return parsePolicy(text, file);
}

/** Whether a policy lets everything in, whatever it is called. */
export function acceptsEverything(policy: Policy): boolean {
  const lists = [policy.default, ...[...policy.transports.values()].flatMap((scopes) => [...scopes.values()])];
  return lists.every((list) => list.every(({ type }) => type === "insecureAcceptAnything"));
}

/**
 * What an image has to show to be let in; undefined when that is nothing.
 *
 * @throws PolicyError when nothing that it could show would do
 */
export function demandOf(policy: Policy, subject: PolicySubject): TrustDemand | undefined {
  const { scope, list } = rulesFor(policy, subject);
  const rule = `${policy.file} (${
    scope === undefined ? "default" : `${subject.transport} scope ${JSON.stringify(scope)}`
  })`;
  const requirements: SignatureRequirement[] = [];
  for (const requirement of list) {
    if (requirement.type === "signedBy" || requirement.type === "sigstoreSigned") requirements.push(requirement);
    else refuse(requirement, { subject, rule });
  }
  if (requirements.length === 0) return undefined;
  const { name, reference } = subject;
  return { name, rule, requirements, ...(reference === undefined ? {} : { identity: canonical(reference) }) };
}

function refuse(
  { type }: Exclude<Requirement, SignatureRequirement>,
  { subject, rule }: { readonly subject: PolicySubject; readonly rule: string },
): void {
  if (type === "reject") throw new PolicyError(`${subject.name} is rejected by the policy ${rule}`);
  if (type === "signedBaseLayer") {
    throw new PolicyError(
      `${subject.name} has to have a signed base layer by the policy ${rule}: no program can check that; use signedBy or sigstoreSigned`,
    );
  }
}

function rulesFor(
  policy: Policy,
  { transport, scopes }: PolicySubject,
): { readonly scope: string | undefined; readonly list: readonly Requirement[] } {
  const known = policy.transports.get(transport);
  for (const scope of known === undefined ? [] : [...scopes, ""]) {
    const list = known?.get(scope);
    if (list !== undefined) return { scope, list };
  }
  return { scope: undefined, list: policy.default };
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw new FailedPreconditionError(`look for the signature policy ${path}: ${messageOf(error)}`, { cause: error });
  }
}
