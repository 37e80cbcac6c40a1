import { demandOf, loadPolicy, PolicyError, systemPolicyFile } from "../policy/policy.ts";
import type { TrustDemand } from "../policy/requirement.ts";
import type { PolicySubject } from "../policy/scopes.ts";

/**
 * Asks the policy of the node about an image in a file.
 *
 * @param file the policy; empty: that of the system
 * @returns what its signatures have to show; undefined when that is nothing
 * @throws PolicyError for a rejected image, or one that would need a signature where archives have none
 */
export async function allow(file: string, subject: PolicySubject): Promise<TrustDemand | undefined> {
  const policy = await loadPolicy(file === "" ? await systemPolicyFile(Deno.env.toObject()) : file);
  const demand = demandOf(policy, subject);
  if (demand === undefined || subject.transport !== "docker-archive") return demand;
  const types = demand.requirements.map(({ type }) => type).join(" and ");
  throw new PolicyError(
    `${subject.name} has to be ${types} by the policy ${demand.rule}: archives of Docker have no signatures; give the transport ` +
      `${subject.transport} a rule of its own there`,
  );
}
