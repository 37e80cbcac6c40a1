/** What needs an API server: the node as the cluster sees it, volumes of objects, controllers. */
import assert from "node:assert/strict";
import { type Check, check } from "../checks.ts";
import { lineServer, shell, SLEEPER } from "../commands.ts";
import { NODE_NAME } from "../kubelet.ts";
import type { TestNode } from "../node.ts";
import type { Fields } from "../pod_types.ts";
import { noProxy } from "../skips.ts";
import { until } from "../until.ts";

const CLUSTER = { modes: ["cluster"] } as const;
const CORE = "/api/v1/namespaces/default";
const APPS = "/apis/apps/v1/namespaces/default";
const BATCH = "/apis/batch/v1/namespaces/default";

function object(kind: string, name: string, fields: Fields, apiVersion = "v1"): Fields {
  return { apiVersion, kind, metadata: { name }, ...fields };
}

/** A pod template that a controller makes pods of. */
function template(node: TestNode, app: string, fields: { command: readonly string[]; spec?: Fields }): Fields {
  const container = { name: "main", image: node.image, imagePullPolicy: "IfNotPresent", command: fields.command };
  return {
    metadata: { labels: { app } },
    spec: { terminationGracePeriodSeconds: 2, containers: [container], ...fields.spec },
  };
}

/** Names of the pods with a label `app`, those that are leaving excepted. */
async function podsOf(node: TestNode, app: string): Promise<string[]> {
  const { items } = await node.cluster.find(`${CORE}/pods?labelSelector=app%3D${app}`);
  return items.filter((pod: { metadata: { deletionTimestamp?: string } }) =>
    pod.metadata.deletionTimestamp === undefined
  )
    .map((pod: { metadata: { name: string } }) => pod.metadata.name);
}

export const CLUSTER_CHECKS: readonly Check[] = [
  check("the node is Ready, and names its runtime and its handlers", async (node) => {
    const { status } = await node.cluster.find(`/api/v1/nodes/${NODE_NAME}`);
    assert.match(status.nodeInfo.containerRuntimeVersion, /^(cri-o|containerd):\/\/\d+\.\d+/);
    assert.equal(status.nodeInfo.kubeletVersion, "v1.34.4");
    const handlers = status.runtimeHandlers.map(({ name }: { name: string }) => name);
    assert.ok(handlers.includes("") && handlers.includes("runc"), handlers.join());
    const ready = status.conditions.find(({ type }: { type: string }) => type === "Ready");
    assert.deepEqual([ready.status, ready.reason], ["True", "KubeletReady"]);
  }, CLUSTER),
  check("the node's images are those of the runtime", async (node) => {
    await until("the image", async () => {
      const { status } = await node.cluster.find(`/api/v1/nodes/${NODE_NAME}`);
      const image = status.images?.find(({ names }: { names: string[] }) => names.includes(node.image));
      return (image?.sizeBytes ?? 0) > 500_000 || undefined;
    });
  }, CLUSTER),
  check("events tell of the pull, the creation and the start", async (node) => {
    const pod = await node.run("events", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const reasons = await until("events", async () => {
      const { items } = await node.cluster.find(`${CORE}/events?fieldSelector=involvedObject.name%3Devents`);
      const found: string[] = items.map(({ reason }: { reason: string }) => reason);
      return found.includes("Started") ? found : undefined;
    });
    for (const reason of ["Scheduled", "Pulled", "Created", "Started"]) assert.ok(reasons.includes(reason), reason);
    await pod.delete();
  }, CLUSTER),
  check("a ConfigMap is environment and files, and files change with it", async (node) => {
    const data = { colour: "red", "file.txt": "first\n" };
    await node.cluster.send("POST", `${CORE}/configmaps`, object("ConfigMap", "settings", { data }));
    const pod = await node.run("config-map", {
      containers: [{
        name: "main",
        command: SLEEPER,
        env: [{ name: "COLOUR", valueFrom: { configMapKeyRef: { name: "settings", key: "colour" } } }],
        volumeMounts: [{ name: "settings", mountPath: "/settings" }],
      }],
      volumes: [{ name: "settings", configMap: { name: "settings", items: [{ key: "file.txt", path: "own.txt" }] } }],
    });
    await pod.ready();
    assert.equal(await pod.shell("main", "echo $COLOUR; cat /settings/own.txt"), "red\nfirst");
    await node.cluster.send("PATCH", `${CORE}/configmaps/settings`, { data: { "file.txt": "second\n" } });
    await until("the new file", async () => {
      return await pod.shell("main", "cat /settings/own.txt") === "second" || undefined;
    });
    await pod.delete();
  }, CLUSTER),
  check("a Secret is files of its mode, one file, and environment", async (node) => {
    const stringData = { password: "swordfish" };
    await node.cluster.send("POST", `${CORE}/secrets`, object("Secret", "hidden", { stringData }));
    const pod = await node.run("secret", {
      containers: [{
        name: "main",
        command: SLEEPER,
        envFrom: [{ secretRef: { name: "hidden" }, prefix: "MY_" }],
        volumeMounts: [
          { name: "hidden", mountPath: "/hidden", readOnly: true },
          { name: "hidden", mountPath: "/one", subPath: "password" },
        ],
      }],
      volumes: [{ name: "hidden", secret: { secretName: "hidden", defaultMode: 0o400 } }],
    });
    await pod.ready();
    const script = "cat /hidden/password; echo; cat /one; echo; echo $MY_password; stat -L -c %a /hidden/password";
    assert.equal(await pod.shell("main", script), "swordfish\nswordfish\nswordfish\n400");
    await pod.delete();
  }, CLUSTER),
  check("a projected volume joins all of them with the service account's token", async (node) => {
    const data = { from: "the map" };
    await node.cluster.send("POST", `${CORE}/configmaps`, object("ConfigMap", "projected", { data }));
    const sources = [
      { configMap: { name: "projected" } },
      { downwardAPI: { items: [{ path: "name", fieldRef: { fieldPath: "metadata.name" } }] } },
      { serviceAccountToken: { path: "token", expirationSeconds: 600, audience: "lab" } },
    ];
    const pod = await node.run("projected", {
      containers: [{ name: "main", command: SLEEPER, volumeMounts: [{ name: "all", mountPath: "/all" }] }],
      volumes: [{ name: "all", projected: { sources } }],
    });
    await pod.ready();
    assert.equal(await pod.shell("main", "cat /all/from; echo; cat /all/name"), "the map\nprojected");
    const token = await pod.shell("main", "cat /all/token");
    assert.equal(token.split(".").length, 3);
    const account = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert.equal(await pod.shell("main", `cat ${account}/namespace; test -s ${account}/ca.crt; echo $?`), "default0");
    await pod.delete();
  }, CLUSTER),
  check("a RuntimeClass chooses the handler", async (node) => {
    const path = "/apis/node.k8s.io/v1/runtimeclasses";
    await node.cluster.send("POST", path, object("RuntimeClass", "other", { handler: "runc" }, "node.k8s.io/v1"));
    const pod = await node.run("runtime-class", {
      runtimeClassName: "other",
      containers: [{ name: "main", command: SLEEPER }],
    });
    await pod.ready();
    const state = `${node.lab.directory}/runc/${await pod.containerId("main")}`;
    assert.ok(await Deno.stat(state).then(() => true, () => false), `${state} is missing`);
    await pod.delete();
  }, { ...CLUSTER, skip: (node) => Promise.resolve(node.lab.daemon.spec.name === "crio" ? undefined : "crio's own") }),
  check("a handler that the runtime does not have is named", async (node) => {
    const path = "/apis/node.k8s.io/v1/runtimeclasses";
    await node.cluster.send("POST", path, object("RuntimeClass", "absent", { handler: "nowhere" }, "node.k8s.io/v1"));
    const pod = await node.run("no-handler", {
      runtimeClassName: "absent",
      containers: [{ name: "main", command: SLEEPER }],
    });
    await until("the event", async () => {
      const { items } = await node.cluster.find(`${CORE}/events?fieldSelector=involvedObject.name%3Dno-handler`);
      return items.some(({ reason, message }: { reason: string; message: string }) =>
        reason === "FailedCreatePodSandBox" && message.includes("nowhere")
      ) || undefined;
    });
    await pod.delete();
  }, CLUSTER),
  check("a Deployment rolls over to a new version", async (node) => {
    const deployment = (text: string): Fields => ({
      replicas: 2,
      selector: { matchLabels: { app: "rolling" } },
      template: template(node, "rolling", { command: shell(`echo ${text}; exec sleep 1000`) }),
    });
    const spec = deployment("one");
    await node.cluster.send("POST", `${APPS}/deployments`, object("Deployment", "rolling", { spec }, "apps/v1"));
    const rolledOut = async (generation: number): Promise<void> => {
      await until(`generation ${generation}`, async () => {
        const { status } = await node.cluster.find(`${APPS}/deployments/rolling`);
        return status.observedGeneration === generation && status.updatedReplicas === 2 &&
            status.availableReplicas === 2 && status.replicas === 2 || undefined;
      });
    };
    await rolledOut(1);
    await node.cluster.send("PATCH", `${APPS}/deployments/rolling`, { spec: deployment("two") });
    await rolledOut(2);
    for (const name of await podsOf(node, "rolling")) assert.equal(await node.attach(name).log("main"), "two\n");
    await node.cluster.send("DELETE", `${APPS}/deployments/rolling?propagationPolicy=Foreground`);
    await until("its end", async () => (await podsOf(node, "rolling")).length === 0 || undefined);
  }, CLUSTER),
  check("a Job completes, its sidecar with it", async (node) => {
    const spec = {
      completions: 3,
      parallelism: 2,
      template: template(node, "job", {
        command: shell("echo done"),
        spec: {
          restartPolicy: "Never",
          initContainers: [{ name: "side", image: node.image, command: SLEEPER, restartPolicy: "Always" }],
        },
      }),
    };
    await node.cluster.send("POST", `${BATCH}/jobs`, object("Job", "job", { spec }, "batch/v1"));
    await until("its completion", async () => {
      return (await node.cluster.find(`${BATCH}/jobs/job`)).status.succeeded === 3 || undefined;
    });
    await node.cluster.send("DELETE", `${BATCH}/jobs/job?propagationPolicy=Foreground`);
    await until("its end", async () => (await podsOf(node, "job")).length === 0 || undefined);
  }, CLUSTER),
  check("a DaemonSet has its pod on the node", async (node) => {
    const spec = {
      selector: { matchLabels: { app: "daemon" } },
      template: template(node, "daemon", { command: SLEEPER, spec: { hostNetwork: true } }),
    };
    await node.cluster.send("POST", `${APPS}/daemonsets`, object("DaemonSet", "daemon", { spec }, "apps/v1"));
    await until("its pod", async () => {
      return (await node.cluster.find(`${APPS}/daemonsets/daemon`)).status.numberReady === 1 || undefined;
    });
    await node.cluster.send("DELETE", `${APPS}/daemonsets/daemon?propagationPolicy=Foreground`);
    await until("its end", async () => (await podsOf(node, "daemon")).length === 0 || undefined);
  }, CLUSTER),
  check("a Service answers at its address", async (node) => {
    const server = await node.run("service", { containers: [{ name: "main", command: lineServer(7700, "served") }] }, {
      labels: { app: "service" },
    });
    const client = await node.run("service-client", { containers: [{ name: "main", command: SLEEPER }] });
    const spec = { selector: { app: "service" }, ports: [{ port: 80, targetPort: 7700 }] };
    const made = await node.cluster.send("POST", `${CORE}/services`, object("Service", "service", { spec }));
    await server.ready();
    await client.ready();
    assert.equal(
      await until("an answer", async () => {
        const { stdout } = await client.exec("main", shell(`busybox nc ${made.spec.clusterIP} 80 </dev/null`));
        return stdout === "" ? undefined : stdout;
      }),
      "served\n",
    );
    await node.cluster.send("DELETE", `${CORE}/services/service`);
    await server.delete();
    await client.delete();
  }, { ...CLUSTER, skip: noProxy }),
  check("a namespace goes with all of its pods", async (node) => {
    await node.cluster.send("POST", "/api/v1/namespaces", object("Namespace", "short-lived", {}));
    const account = "/api/v1/namespaces/short-lived/serviceaccounts/default";
    await until("its service account", () => node.cluster.find(account));
    for (const name of ["one", "two"]) {
      const { spec } = template(node, name, { command: SLEEPER });
      await node.cluster.send("POST", "/api/v1/namespaces/short-lived/pods", object("Pod", name, { spec }));
    }
    await until("its pods to run", async () => {
      const { items } = await node.cluster.find("/api/v1/namespaces/short-lived/pods");
      return items.every(({ status }: { status: Fields }) => status["phase"] === "Running") || undefined;
    });
    await node.cluster.send("DELETE", "/api/v1/namespaces/short-lived");
    await until(
      "its end",
      async () => await node.cluster.find("/api/v1/namespaces/short-lived") === undefined || undefined,
    );
    const { items } = await node.cri.call("listPodSandbox", {});
    const ready = items.filter(({ metadata, state }) => metadata?.namespace === "short-lived" && state === 0);
    assert.deepEqual(ready, []);
  }, CLUSTER),
  check("an eviction ends a pod gracefully", async (node) => {
    const pod = await node.run("evicted", { containers: [{ name: "main", command: SLEEPER }] });
    await pod.ready();
    const eviction = object("Eviction", "evicted", {}, "policy/v1");
    await node.cluster.send("POST", `${CORE}/pods/evicted/eviction`, eviction);
    await pod.gone();
  }, CLUSTER),
  check("the node is not Ready while it has no network configuration, and says why", async (node) => {
    const path = `${node.lab.directory}/cni/10-${node.lab.daemon.spec.name}.conflist`;
    const text = await Deno.readTextFile(path);
    await Deno.remove(path);
    const condition = async (): Promise<{ status: string; message: string }> => {
      const { status } = await node.cluster.find(`/api/v1/nodes/${NODE_NAME}`);
      return status.conditions.find(({ type }: { type: string }) => type === "Ready");
    };
    const away = await until("NotReady", async () => {
      const ready = await condition();
      return ready.status === "True" ? undefined : ready;
    });
    assert.match(away.message, /network/i);
    await Deno.writeTextFile(path, text);
    await until("Ready", async () => (await condition()).status === "True" || undefined);
    await until("no taint", async () => {
      return (await node.cluster.find(`/api/v1/nodes/${NODE_NAME}`)).spec.taints === undefined || undefined;
    });
  }, { ...CLUSTER, alone: true }),
];
