import type { TestNode } from "./node.ts";

type Feature = "recursiveReadOnlyMounts" | "userNamespaces";

/** Why a check that needs a feature of the runtime's default handler is left out; undefined: it is there. */
export async function handlerLacks(node: TestNode, feature: Feature): Promise<string | undefined> {
  const { runtimeHandlers } = await node.cri.call("status", {});
  const handler = runtimeHandlers.find(({ name }) => name === "");
  return handler?.features?.[feature] === true ? undefined : `the runtime does not have ${feature}`;
}

/** Why a check that needs Services is left out. */
export function noProxy(node: TestNode): Promise<string | undefined> {
  return Promise.resolve(node.hasProxy ? undefined : "there is no kube-proxy");
}
