import assert from "node:assert/strict";
import { validateByRules, type ValidatorRules } from "../../../src/nri/default_validator.ts";
import {
  Container,
  Field,
  LinuxContainer,
  PodSandbox,
  SecurityProfile_ProfileType as ProfileType,
  ValidateContainerAdjustmentRequest,
} from "../../../src/nri/gen/nri.ts";
import { message } from "../../../src/nri/message.ts";

const NONE: ValidatorRules = {
  rejectOciHook: false,
  rejectRuntimeDefaultSeccomp: false,
  rejectUnconfinedSeccomp: false,
  rejectCustomSeccomp: false,
  rejectNamespace: false,
  requiredPlugins: [],
  tolerateMissingPluginsAnnotation: "",
};

function request(
  options: {
    annotations?: Record<string, string>;
    simple?: ReadonlyArray<readonly [number, string]>;
    namespaces?: Record<string, string>;
    profile?: ProfileType;
    plugins?: readonly string[];
  },
): ValidateContainerAdjustmentRequest {
  const { annotations = {}, simple = [], namespaces, profile, plugins = [] } = options;
  const compound = namespaces === undefined
    ? new Map()
    : new Map([[Field.Namespace, { owners: new Map(Object.entries(namespaces)) }]]);
  const seccompProfile = profile === undefined ? undefined : { profileType: profile, localhostRef: "" };
  return message(ValidateContainerAdjustmentRequest, {
    pod: message(PodSandbox, { annotations: new Map(Object.entries(annotations)) }),
    container: message(Container, { id: "c1", name: "app", linux: message(LinuxContainer, { seccompProfile }) }),
    owners: { owners: new Map([["c1", { simple: new Map(simple), compound }]]) },
    plugins: plugins.map((name) => ({ name, index: "10" })),
  });
}

Deno.test("validateByRules() refuses nothing by default", () => {
  validateByRules(NONE, request({ simple: [[Field.OciHooks, "10-a"], [Field.SeccompPolicy, "10-a"]] }));
});

Deno.test("validateByRules() refuses hooks and namespaces by the plugin that changes them", () => {
  const hooks = request({ simple: [[Field.OciHooks, "10-a,20-b"]] });
  assert.throws(() => validateByRules({ ...NONE, rejectOciHook: true }, hooks), /OCI hooks, which 10-a,20-b injects/);
  validateByRules({ ...NONE, rejectOciHook: true }, request({}));
  const spaces = request({ namespaces: { network: "10-a" } });
  assert.throws(() => validateByRules({ ...NONE, rejectNamespace: true }, spaces), /network by 10-a/);
});

Deno.test("validateByRules() tells seccomp policies by the profile that they replace", () => {
  const simple = [[Field.SeccompPolicy, "10-a"]] as const;
  const rules = ["rejectUnconfinedSeccomp", "rejectRuntimeDefaultSeccomp", "rejectCustomSeccomp"] as const;
  const profiles = [ProfileType.UNCONFINED, ProfileType.RUNTIME_DEFAULT, ProfileType.LOCALHOST];
  for (const [i, rule] of rules.entries()) {
    for (const [j, profile] of profiles.entries()) {
      const check = (): void => validateByRules({ ...NONE, [rule]: true }, request({ simple, profile }));
      if (i === j) assert.throws(check, /seccomp policy/);
      else check();
    }
  }
  assert.throws(() => validateByRules({ ...NONE, rejectUnconfinedSeccomp: true }, request({ simple })));
});

Deno.test("validateByRules() wants required plugins, those that pods name as well, unless they are tolerated", () => {
  const rules = { ...NONE, requiredPlugins: ["a"], tolerateMissingPluginsAnnotation: "tolerate.example" };
  const own = "required-plugins.noderesource.dev";
  assert.throws(() => validateByRules(rules, request({})), /required plugins: a$/);
  validateByRules(rules, request({ plugins: ["a"] }));
  for (const list of ["[b]", '["b" ]', "- b\n", "- 'b'"]) {
    const asks = request({ plugins: ["a"], annotations: { [own]: list } });
    assert.throws(() => validateByRules(rules, asks), /required plugins: b$/, list);
  }
  assert.throws(() => validateByRules(rules, request({ annotations: { [own]: "{}" } })), /no list of plugin names/);
  validateByRules(rules, request({ annotations: { "tolerate.example/container.app": "true" } }));
  assert.throws(() =>
    validateByRules(
      rules,
      request({ annotations: { "tolerate.example": "true", "tolerate.example/container.app": "false" } }),
    )
  );
  assert.throws(() => validateByRules(rules, request({ annotations: { "tolerate.example": "yes" } })), /no boolean/);
});
