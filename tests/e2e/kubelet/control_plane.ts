import { answers, NODE_IP, NODE_NAME, run } from "./kubelet.ts";
import { Program } from "./program.ts";
import { until } from "./until.ts";

const API_URL = `https://${NODE_IP}:6443`;
const ETCD_URL = "http://127.0.0.1:23790";
const ETCD_PEER_URL = "http://127.0.0.1:23800";
const SERVICE_NETWORK = "10.96.0.0/16";

/** Who talks to the API server: the file of its token, its name and its group there. */
const USERS: readonly (readonly [file: string, name: string, group: string])[] = [
  ["admin", "admin", "system:masters"],
  ["controllers", "system:kube-controller-manager", "system:masters"],
  ["scheduler", "system:kube-scheduler", ""],
  ["proxy", "system:kube-proxy", ""],
  ["kubelet", `system:node:${NODE_NAME}`, "system:nodes"],
];

export interface ControlPlaneOptions {
  /** Where its files lie; made when it is missing. */
  readonly directory: string;
  /** Where the programs are. */
  readonly programs: string;
}

/** The object that the API server answers with. */
// deno-lint-ignore no-explicit-any -- the shape is Kubernetes' own, and each check says what it expects of it
type ApiObject = any;

/** etcd, API server, controllers and scheduler of a cluster with one node. */
export class ControlPlane implements AsyncDisposable {
  readonly #programs: Program[] = [];
  readonly #client: Deno.HttpClient;

  private constructor(
    private readonly options: ControlPlaneOptions,
    authority: string,
    private readonly adminToken: string,
  ) {
    this.#client = Deno.createHttpClient({ caCerts: [authority] });
  }

  /** Starts everything but the node; the API server answers afterwards. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlane> {
    const { directory } = options;
    await Deno.mkdir(`${directory}/etcd`, { recursive: true, mode: 0o700 });
    const tls = `${directory}/tls`;
    await makeCertificates(tls);
    const tokens = await makeUsers(directory);
    const plane = new ControlPlane(options, await Deno.readTextFile(`${tls}/ca.crt`), tokens.get("admin") ?? "");
    try {
      await plane.#startAll();
    } catch (error) {
      await plane[Symbol.asyncDispose]();
      throw error;
    }
    return plane;
  }

  /** The kubeconfig of a user, such as `admin` or `kubelet`. */
  kubeconfig(user: string): string {
    return `${this.options.directory}/${user}.kubeconfig`;
  }

  /** Waits until the node is Ready and pods may be made. */
  async waitForNode(): Promise<void> {
    await until("the node to be Ready", async () => {
      const node = await this.find(`/api/v1/nodes/${NODE_NAME}`);
      const ready = node?.status?.conditions?.find((condition: { type: string }) => condition.type === "Ready");
      return ready?.status === "True" || undefined;
    });
    const account = "/api/v1/namespaces/default/serviceaccounts/default";
    await until("the default service account", () => this.find(account));
    const untainted = `/api/v1/nodes/${NODE_NAME}`;
    await until("the node to take pods", async () => {
      return (await this.find(untainted))?.spec?.taints === undefined || undefined;
    });
  }

  /** kube-proxy, where it was built. */
  async startProxy(): Promise<boolean> {
    const { programs } = this.options;
    if (await Deno.stat(`${programs}/kube-proxy`).catch(() => undefined) === undefined) return false;
    const args = [`--kubeconfig=${this.kubeconfig("proxy")}`, `--hostname-override=${NODE_NAME}`];
    args.push("--proxy-mode=iptables", "--cluster-cidr=10.238.0.0/16", "--conntrack-max-per-core=0");
    args.push("--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0");
    await this.#program("kube-proxy", args, () => answers("http://127.0.0.1:10249/healthz"));
    return true;
  }

  /** GET; undefined where there is nothing. */
  async find(path: string): Promise<ApiObject | undefined> {
    const response = await this.fetch(path);
    if (response.status === 404) {
      await response.body?.cancel();
      return undefined;
    }
    return await bodyOf(response, `GET ${path}`);
  }

  /** POST, PUT, PATCH or DELETE with an object. */
  async send(method: string, path: string, body?: unknown): Promise<ApiObject> {
    const type = method === "PATCH" ? "application/strategic-merge-patch+json" : "application/json";
    const response = await this.fetch(path, {
      method,
      headers: { "Content-Type": type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return await bodyOf(response, `${method} ${path}`);
  }

  /** As the administrator. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("Authorization", `Bearer ${this.adminToken}`);
    return await fetch(`${API_URL}${path}`, { ...init, headers, client: this.#client });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.reverse()) await program.stop();
    this.#client.close();
  }

  async #startAll(): Promise<void> {
    const { directory } = this.options;
    await this.#program("etcd", etcdArguments(directory), () => answers(`${ETCD_URL}/health`));
    await this.#program("kube-apiserver", apiServerArguments(directory), async () => {
      const response = await this.fetch("/readyz").catch(() => undefined);
      await response?.body?.cancel();
      return response?.ok === true;
    });
    const common = ["--leader-elect=false", "--bind-address=127.0.0.1", "--v=1"];
    await this.#program("kube-controller-manager", [
      ...common,
      `--kubeconfig=${this.kubeconfig("controllers")}`,
      `--service-account-private-key-file=${directory}/tls/sa.key`,
      `--root-ca-file=${directory}/tls/ca.crt`,
      `--cert-dir=${directory}/tls/controllers`,
    ]);
    const scheduler = [`--kubeconfig=${this.kubeconfig("scheduler")}`, `--cert-dir=${directory}/tls/scheduler`];
    await this.#program("kube-scheduler", [...common, ...scheduler]);
  }

  async #program(
    name: string,
    args: readonly string[],
    isReady: () => Promise<boolean> = () => Promise.resolve(this.#programs.length > 0),
  ): Promise<void> {
    const { directory, programs } = this.options;
    const argv = [`${programs}/${name}`, ...args];
    const logPath = `${directory}/${name}.log`;
    this.#programs.push(await Program.start({ name, argv, logPath, isReady, readyTimeoutMs: 180_000 }));
  }
}

async function bodyOf(response: Response, what: string): Promise<ApiObject> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${what}: ${response.status} ${text.slice(0, 1000)}`);
  return JSON.parse(text);
}

function etcdArguments(directory: string): string[] {
  return [
    "--name=lab",
    `--data-dir=${directory}/etcd`,
    "--unsafe-no-fsync",
    `--listen-client-urls=${ETCD_URL}`,
    `--advertise-client-urls=${ETCD_URL}`,
    `--listen-peer-urls=${ETCD_PEER_URL}`,
    `--initial-advertise-peer-urls=${ETCD_PEER_URL}`,
    `--initial-cluster=lab=${ETCD_PEER_URL}`,
  ];
}

function apiServerArguments(directory: string): string[] {
  const tls = `${directory}/tls`;
  return [
    `--etcd-servers=${ETCD_URL}`,
    `--bind-address=${NODE_IP}`,
    `--advertise-address=${NODE_IP}`,
    "--secure-port=6443",
    `--tls-cert-file=${tls}/apiserver.crt`,
    `--tls-private-key-file=${tls}/apiserver.key`,
    `--cert-dir=${tls}`,
    `--token-auth-file=${directory}/tokens.csv`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${tls}/sa.pub`,
    `--service-account-signing-key-file=${tls}/sa.key`,
    `--service-cluster-ip-range=${SERVICE_NETWORK}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--allow-privileged=true",
    "--feature-gates=ImageVolume=true,ContainerStopSignals=true",
    "--v=1",
  ];
}

async function makeCertificates(tls: string): Promise<void> {
  await Deno.mkdir(tls, { recursive: true });
  const names = [`IP:${NODE_IP}`, "IP:127.0.0.1", "IP:10.96.0.1", "DNS:kubernetes.default.svc", "DNS:localhost"];
  await Deno.writeTextFile(`${tls}/ext`, `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth\n`);
  const request = ["-newkey", "rsa:2048", "-nodes", "-days", "30"];
  await openssl(tls, ["req", "-x509", ...request, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=lab"]);
  const server = ["-keyout", "apiserver.key", "-out", "apiserver.csr", "-subj", "/CN=kube-apiserver"];
  await openssl(tls, ["req", "-newkey", "rsa:2048", "-nodes", ...server]);
  const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", "30"];
  await openssl(tls, ["x509", "-req", "-in", "apiserver.csr", ...signed, "-out", "apiserver.crt"]);
  await openssl(tls, ["genrsa", "-out", "sa.key", "2048"]);
  await openssl(tls, ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]);
}

async function openssl(directory: string, args: readonly string[]): Promise<void> {
  await run("sh", "-c", 'cd "$0" && exec openssl "$@" 2>&1', directory, ...args);
}

/** Tokens of all users, and a kubeconfig for each. */
async function makeUsers(directory: string): Promise<Map<string, string>> {
  const tokens = new Map<string, string>();
  const lines: string[] = [];
  for (const [file, name, group] of USERS) {
    const token = crypto.randomUUID();
    tokens.set(file, token);
    lines.push(`${token},${name},${file}${group === "" ? "" : `,"${group}"`}`);
    await Deno.writeTextFile(`${directory}/${file}.kubeconfig`, kubeconfig(directory, token), { mode: 0o600 });
  }
  await Deno.writeTextFile(`${directory}/tokens.csv`, `${lines.join("\n")}\n`, { mode: 0o600 });
  return tokens;
}

function kubeconfig(directory: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "lab", cluster: { server: API_URL, "certificate-authority": `${directory}/tls/ca.crt` } }],
    users: [{ name: "lab", user: { token } }],
    contexts: [{ name: "lab", context: { cluster: "lab", user: "lab" } }],
    "current-context": "lab",
  });
}
