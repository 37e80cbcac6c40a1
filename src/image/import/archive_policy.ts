import { demandOf, loadPolicy, PolicyError, systemPolicyFile } from "../policy/policy.ts";
import type { PolicySubject } from "../policy/scopes.ts";

/**
 * Asks the policy of the node about an image in a file.
 *
 * @param file the policy; empty: that of the system
 * @throws PolicyError for a rejected image, or one that would need a signature, which archives do not have
 */
export async function allow(file: string, subject: PolicySubject): Promise<void> {
  const policy = await loadPolicy(file === "" ? await systemPolicyFile(Deno.env.toObject()) : file);
  const demand = demandOf(policy, subject);
  if (demand === undefined) return;
  const types = demand.requirements.map(({ type }) => type).join(" and ");
  throw new PolicyError(
    `${subject.name} has to be ${types} by the policy ${demand.rule}: archives have no signatures; give the transport ` +
      `${subject.transport} a rule of its own there`,
  );
}
