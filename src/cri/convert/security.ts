import { UnimplementedError } from "../../base/errors.ts";
import type { ProfileChoice, SecurityContext, SelinuxOptions } from "../../container/types.ts";
import type { PodSecurity } from "../../sandbox/types.ts";
import {
  type Int64Value,
  type LinuxContainerSecurityContext,
  type LinuxSandboxSecurityContext,
  type SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
  type SELinuxOption,
  SupplementalGroupsPolicy,
} from "../gen/api.ts";
import { absolute, hostId, invalid, nonEmpty, oneLine, present, quote } from "./_checks.ts";
import { namespaceModes } from "./namespaces.ts";

/** Pod-wide security settings; an absent context is the CRI's defaults. */
export function podSecurity(context: LinuxSandboxSecurityContext | undefined, field: string): PodSecurity {
  const namespaces = namespaceModes(context?.namespaceOptions, `${field}.namespace_options`, { allowTarget: false });
  if (context === undefined) {
    return { namespaces, privileged: false, readonlyRootfs: false, supplementalGroups: [] };
  }
  groupsPolicy(context.supplementalGroupsPolicy, field);
  if (context.runAsGroup !== undefined && context.runAsUser === undefined) {
    throw invalid(`${field}.run_as_group`, "is given without run_as_user");
  }
  return {
    namespaces,
    privileged: context.privileged,
    readonlyRootfs: context.readonlyRootfs,
    supplementalGroups: groups(context.supplementalGroups, field),
    ...present({
      selinux: selinux(context.selinuxOptions, field),
      runAsUser: optionalId(context.runAsUser, `${field}.run_as_user`),
      runAsGroup: optionalId(context.runAsGroup, `${field}.run_as_group`),
      seccomp: seccomp(context.seccomp, context.seccompProfilePath, field),
      apparmor: profile(context.apparmor, `${field}.apparmor`),
    }),
  };
}

/** What a container may do; an absent context is the CRI's defaults. */
export function containerSecurity(context: LinuxContainerSecurityContext | undefined, field: string): SecurityContext {
  const namespaces = namespaceModes(context?.namespaceOptions, `${field}.namespace_options`, { allowTarget: true });
  if (context === undefined) return { ...UNRESTRAINED, namespaces };
  return {
    privileged: context.privileged,
    capabilities: capabilities(context, `${field}.capabilities`),
    namespaces,
    ...user(context, field),
    supplementalGroups: groups(context.supplementalGroups, field),
    supplementalGroupsPolicy: groupsPolicy(context.supplementalGroupsPolicy, field),
    readonlyRootfs: context.readonlyRootfs,
    noNewPrivs: context.noNewPrivs,
    maskedPaths: context.maskedPaths.map((path) => absolute(path, `${field}.masked_paths`)),
    readonlyPaths: context.readonlyPaths.map((path) => absolute(path, `${field}.readonly_paths`)),
    ...present({
      selinux: selinux(context.selinuxOptions, field),
      seccomp: seccomp(context.seccomp, context.seccompProfilePath, field),
      apparmor: profile(context.apparmor, `${field}.apparmor`) ??
        legacyProfile(context.apparmorProfile, `${field}.apparmor_profile`),
    }),
  };
}

const UNRESTRAINED: Omit<SecurityContext, "namespaces"> = {
  privileged: false,
  capabilities: { add: [], drop: [], addAmbient: [] },
  supplementalGroups: [],
  supplementalGroupsPolicy: "merge",
  readonlyRootfs: false,
  noNewPrivs: false,
  maskedPaths: [],
  readonlyPaths: [],
};

function user(
  context: LinuxContainerSecurityContext,
  field: string,
): Pick<SecurityContext, "runAsUser" | "runAsGroup" | "runAsUserName"> {
  const { runAsUser, runAsUsername, runAsGroup } = context;
  if (runAsUser !== undefined && runAsUsername !== "") {
    throw invalid(`${field}.run_as_user`, "and run_as_username are both given");
  }
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUsername === "") {
    throw invalid(`${field}.run_as_group`, "is given without a user");
  }
  return present({
    runAsUser: optionalId(runAsUser, `${field}.run_as_user`),
    runAsGroup: optionalId(runAsGroup, `${field}.run_as_group`),
    runAsUserName: runAsUsername === "" ? undefined : oneLine(runAsUsername, `${field}.run_as_username`),
  });
}

function capabilities(context: LinuxContainerSecurityContext, field: string): SecurityContext["capabilities"] {
  const names = (list: readonly string[] | undefined, which: string): string[] =>
    (list ?? []).map((name) => oneLine(nonEmpty(name, `${field}.${which}`), `${field}.${which}`));
  return {
    add: names(context.capabilities?.addCapabilities, "add_capabilities"),
    drop: names(context.capabilities?.dropCapabilities, "drop_capabilities"),
    addAmbient: names(context.capabilities?.addAmbientCapabilities, "add_ambient_capabilities"),
  };
}

function groups(ids: readonly bigint[], field: string): number[] {
  return ids.map((id) => hostId(id, `${field}.supplemental_groups`));
}

function groupsPolicy(policy: SupplementalGroupsPolicy, field: string): "merge" | "strict" {
  if (policy === SupplementalGroupsPolicy.Merge) return "merge";
  if (policy === SupplementalGroupsPolicy.Strict) return "strict";
  throw new UnimplementedError(`${field}.supplemental_groups_policy ${String(policy)} is not implemented`);
}

function optionalId(value: Int64Value | undefined, field: string): number | undefined {
  return value === undefined ? undefined : hostId(value.value, field);
}

function selinux(option: SELinuxOption | undefined, field: string): SelinuxOptions | undefined {
  if (option === undefined) return undefined;
  const part = (name: "user" | "role" | "type" | "level"): string =>
    oneLine(option[name], `${field}.selinux_options.${name}`);
  return { user: part("user"), role: part("role"), type: part("type"), level: part("level") };
}

function seccomp(
  choice: SecurityProfile | undefined,
  legacyPath: string,
  field: string,
): ProfileChoice | undefined {
  const name = choice === undefined ? `${field}.seccomp_profile_path` : `${field}.seccomp`;
  const chosen = profile(choice, name) ?? legacyProfile(legacyPath, name);
  if (chosen?.kind === "localhost") absolute(chosen.ref, name);
  return chosen;
}

function profile(choice: SecurityProfile | undefined, field: string): ProfileChoice | undefined {
  switch (choice?.profileType) {
    case undefined:
      return undefined;
    case ProfileType.RuntimeDefault:
      return { kind: "runtimeDefault" };
    case ProfileType.Unconfined:
      return { kind: "unconfined" };
    case ProfileType.Localhost:
      return localhost(choice?.localhostRef ?? "", field);
    default:
      throw invalid(field, `profile type ${String(choice?.profileType)} is not known`);
  }
}

/** The older form, one string; the newer one wins where both are given. */
function legacyProfile(text: string, field: string): ProfileChoice | undefined {
  if (text === "") return undefined;
  if (text === "runtime/default" || text === "docker/default") return { kind: "runtimeDefault" };
  if (text === "unconfined") return { kind: "unconfined" };
  if (text.startsWith("localhost/")) return localhost(text, field);
  throw invalid(field, `${quote(text)} is not runtime/default, unconfined or localhost/<name>`);
}

function localhost(ref: string, field: string): ProfileChoice {
  const name = ref.startsWith("localhost/") ? ref.slice("localhost/".length) : ref;
  return { kind: "localhost", ref: oneLine(nonEmpty(name, `${field}: name of the localhost profile`), field) };
}
