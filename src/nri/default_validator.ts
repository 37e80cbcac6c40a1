import { InvalidArgumentError } from "../base/errors.ts";
import { PluginRefusal } from "./errors.ts";
import {
  Field,
  type FieldOwners,
  type PodSandbox,
  SecurityProfile_ProfileType as ProfileType,
  type ValidateContainerAdjustmentRequest,
} from "./gen/nri.ts";

/** What the built-in validator refuses, and which plugins it wants to be there (`[crio.nri.default_validator]`). */
export interface ValidatorRules {
  readonly rejectOciHook: boolean;
  readonly rejectRuntimeDefaultSeccomp: boolean;
  readonly rejectUnconfinedSeccomp: boolean;
  readonly rejectCustomSeccomp: boolean;
  readonly rejectNamespace: boolean;
  /** Names without index. */
  readonly requiredPlugins: readonly string[];
  /** Annotation with which a pod or container does without required plugins; empty: none does. */
  readonly tolerateMissingPluginsAnnotation: string;
}

/** Pods name plugins of their own with it (nri, pkg/plugin/annotations.go). */
const REQUIRED_PLUGINS = "required-plugins.noderesource.dev";

/** @throws PluginRefusal when the rules are against what plugins adjusted; InvalidArgumentError for a bad annotation */
export function validateByRules(rules: ValidatorRules, request: ValidateContainerAdjustmentRequest): void {
  const owners = request.owners?.owners.get(request.container?.id ?? "");
  checkHooks(rules, owners);
  checkSeccomp(rules, { request, owners });
  checkNamespaces(rules, owners);
  checkRequired(rules, request);
}

function checkHooks(rules: ValidatorRules, owners: FieldOwners | undefined): void {
  const plugins = owners?.simple.get(Field.OciHooks);
  if (rules.rejectOciHook && plugins !== undefined) throw refusal(`OCI hooks, which ${plugins} injects`);
}

function checkSeccomp(
  rules: ValidatorRules,
  { request, owners }: { request: ValidateContainerAdjustmentRequest; owners: FieldOwners | undefined },
): void {
  const plugin = owners?.simple.get(Field.SeccompPolicy);
  if (plugin === undefined) return;
  const profile = request.container?.linux?.seccompProfile?.profileType ?? ProfileType.UNCONFINED;
  const { rejects, what } = {
    [ProfileType.UNCONFINED]: { rejects: rules.rejectUnconfinedSeccomp, what: "of an unconfined container" },
    [ProfileType.RUNTIME_DEFAULT]: { rejects: rules.rejectRuntimeDefaultSeccomp, what: "instead of the default one" },
    [ProfileType.LOCALHOST]: { rejects: rules.rejectCustomSeccomp, what: "instead of the pod's own" },
  }[profile];
  if (rejects) throw refusal(`a seccomp policy ${what}, which ${plugin} sets`);
}

function checkNamespaces(rules: ValidatorRules, owners: FieldOwners | undefined): void {
  const changed = [...owners?.compound.get(Field.Namespace)?.owners ?? []];
  if (!rules.rejectNamespace || changed.length === 0) return;
  throw refusal(`changed namespaces: ${changed.map(([type, plugin]) => `${type} by ${plugin}`).join(", ")}`);
}

function checkRequired(rules: ValidatorRules, { pod, container, plugins }: ValidateContainerAdjustmentRequest): void {
  const name = container?.name ?? "";
  if (rules.tolerateMissingPluginsAnnotation !== "") {
    const tolerates = annotationFor(pod, { key: rules.tolerateMissingPluginsAnnotation, container: name });
    if (tolerates !== undefined && boolean(tolerates)) return;
  }
  const own = annotationFor(pod, { key: REQUIRED_PLUGINS, container: name });
  const required = [...rules.requiredPlugins, ...own === undefined ? [] : stringList(own)];
  const present = new Set(plugins.map((plugin) => plugin.name));
  const missing = required.filter((plugin) => !present.has(plugin));
  if (missing.length > 0) throw refusal(`a container without the required plugins: ${missing.join(", ")}`);
}

/** The pod's annotation with the narrowest scope: of the container, of the pod, or without a scope. */
function annotationFor(
  pod: PodSandbox | undefined,
  { key, container }: { key: string; container: string },
): string | undefined {
  const keys = [`${key}/container.${container}`, `${key}/pod`, key];
  return keys.map((one) => pod?.annotations.get(one)).find((value) => value !== undefined);
}

function boolean(text: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw new InvalidArgumentError(`annotation that tolerates missing plugins: ${JSON.stringify(text)} is no boolean`);
}

/** A YAML list of plain or quoted strings, in either style. */
function stringList(text: string): string[] {
  const trimmed = text.trim();
  const flow = /^\[(.*)\]$/s.exec(trimmed)?.[1];
  const items = flow === undefined
    ? trimmed.split("\n").map((line) => /^\s*-\s+(.*)$/.exec(line)?.[1])
    : flow.split(",").filter((item) => item.trim() !== "");
  return items.map((item) => {
    const name = item?.trim().replace(/^(["'])(.*)\1$/, "$2");
    if (name !== undefined && /^[A-Za-z0-9_.+-]+$/.test(name)) return name;
    throw new InvalidArgumentError(
      `annotation ${REQUIRED_PLUGINS}: ${JSON.stringify(text)} is no list of plugin names`,
    );
  });
}

function refusal(what: string): PluginRefusal {
  return new PluginRefusal(`NRI: the default validator refuses ${what}`);
}
