import { atStage, FailedPreconditionError, InvalidArgumentError, messageOf } from "../base/errors.ts";
import { rootOwner } from "../base/id_maps.ts";
import { type ContainerId, newContainerId } from "../base/ids.ts";
import type { OperationContext } from "../base/joint_operations.ts";
import { makeDirectoriesInRoot, readFileInRoot } from "../linux/rooted.ts";
import { ociJson } from "../oci/spec/json.ts";
import { keepForStart } from "./checkpoint/continue.ts";
import { applyRootfs, type ContainerSource, sourceOf } from "./checkpoint/source.ts";
import { annotationValue } from "../config/annotations.ts";
import { type Annotated, annotatedOf } from "./annotated.ts";
import { seccompArtifactOf } from "./seccomp_artifact.ts";
import { requestedCdiDevices, withCdiDevices } from "./cdi.ts";
import { withAccountFiles } from "./account_files.ts";
import { withPodMarks } from "./pod_marks.ts";
import type { ContainerDeps } from "./deps.ts";
import { buildBundleSpec, commandLine } from "./bundle_spec.ts";
import { withResourceClasses } from "./resource_classes.ts";
import { monitorRequest } from "./monitor_request.ts";
import { withHooks } from "./hooks.ts";
import type { ContainerImage, PodContext } from "./ports.ts";
import { logLinkOf, protectLogs } from "./linked_logs.ts";
import { withSeccompNotifier } from "./seccomp_watch.ts";
import { containerLabels, withSelinux } from "./selinux.ts";
import { signalNumber } from "./signals.ts";
import { tearDownContainer } from "./teardown.ts";
import { transition } from "./transitions.ts";
import type { ContainerRecord, ContainerSpec } from "./types.ts";
import { resolveUser } from "./user.ts";
import { checkUserNamespace, userNamespaceOf } from "./user_namespace.ts";
import { bindMappedVolume } from "./volumes/mapped_volume.ts";
import type { VolumeContext } from "./volumes/volumes.ts";

/** Account files of real images are a few kilobytes; what is longer is cut. */
const ACCOUNT_FILE_BYTES = 1024 * 1024;

/** The name that is unique on the node: one container, pod, namespace, uid and attempt. */
export function containerName(pod: PodContext, spec: ContainerSpec): string {
  return ["k8s", spec.metadata.name, pod.name, pod.namespace, pod.uid, spec.metadata.attempt].join("_");
}

/**
 * Makes a container up to its waiting init process.
 *
 * The record is written before anything else exists, so that a failure or a crash at any later step is taken down from
 * it; the same teardown serves both.
 */
export async function createContainer(
  deps: ContainerDeps,
  request: { pod: PodContext; spec: ContainerSpec },
  context: OperationContext,
): Promise<ContainerId> {
  const { pod } = request;
  const spec = protectLogs(request.spec, pod);
  const name = containerName(pod, spec);
  const present = deps.records.byName(name);
  if (present !== undefined && present.state !== "creating") return present.id;
  if (present !== undefined) await tearDownContainer(deps, present);
  if (!pod.ready) throw new FailedPreconditionError(`create container: pod sandbox ${pod.id} is not ready`);
  if (spec.security.privileged && !pod.privileged) {
    throw new InvalidArgumentError(
      `create container: it is privileged, but its pod sandbox ${pod.id} is not: set privileged for the pod as well`,
    );
  }

  context.stage("container creating: looking the image up");
  const source = await sourceOf(deps, { spec, namespace: pod.namespace }, context);
  await using _checkpoint = source.checkpoint;
  const annotated = await annotatedOf(deps, request);
  const record = firstRecord(deps, { pod, spec, annotated }, { name, image: source.image });
  await deps.records.insert(record);
  try {
    await build(deps, { pod, spec, ...source, record, annotated }, context);
    await deps.plugins?.created(deps.records.get(record.id) ?? record);
    return record.id;
  } catch (error) {
    await deps.plugins?.notCreated(record);
    await tearDownContainer(deps, deps.records.get(record.id) ?? record).catch((left) => {
      deps.log.error(
        `cleaning up after a failed create did not finish; a retry or a restart repeats it: ${messageOf(left)}`,
        {
          container: record.id,
        },
      );
    });
    throw atStage(`create container ${name}`, error);
  }
}

function firstRecord(
  deps: ContainerDeps,
  { pod, spec, annotated }: { pod: PodContext; spec: ContainerSpec; annotated: Annotated },
  { name, image }: { name: string; image: ContainerImage },
): ContainerRecord {
  const id = newContainerId();
  const byAnnotation = annotationValue(annotated.annotations, "stopSignal");
  const stopSignal = spec.stopSignal ?? ((byAnnotation ?? image.defaults.stopSignal) || "SIGTERM");
  signalNumber(stopSignal);
  const runtime = deps.runtimes.forPlatform(pod.runtimeHandler, image.defaults.platform);
  return {
    version: 1,
    id,
    sandboxId: pod.id,
    name,
    spec,
    state: "creating",
    runtimeHandler: runtime.name,
    imageId: image.id,
    imageRef: image.ref,
    imageName: image.name,
    createdAtNanos: String(deps.clock.nowNanos()),
    startedAtNanos: "0",
    finishedAtNanos: "0",
    exitCode: 0,
    oomKilled: false,
    seccompKilled: false,
    message: "",
    ...deps.rootfs.places(id),
    rootfs: "",
    cgroupPath: deps.cgroups.containerPath(pod.cgroupParent, id),
    cgroupParent: pod.cgroupParent,
    logFile: pod.logDirectory === "" ? "" : `${pod.logDirectory}/${spec.logPath === "" ? `${id}.log` : spec.logPath}`,
    stopSignal,
    ...logLinkOf(pod, { spec, id }),
    mounts: [],
    resources: annotated.limits,
    ...(annotated.performance === undefined ? {} : { performance: annotated.performance }),
    user: { uid: 0, gid: 0, supplementalGroups: [] },
  };
}

async function build(
  deps: ContainerDeps,
  parts: ContainerSource & { pod: PodContext; spec: ContainerSpec; record: ContainerRecord; annotated: Annotated },
  context: OperationContext,
): Promise<void> {
  const { pod, spec, image, record, checkpoint, annotated } = parts;
  context.stage("container storage creation");
  const metadata = JSON.stringify({ "pod-id": pod.id, "container-name": spec.metadata.name, name: record.name });
  const labels = containerLabels(deps.selinux, { pod, spec, args: commandLine({ spec, image }) });
  const { id, name } = record;
  const stored = {
    ...(labels === undefined ? {} : { labels }),
    ...(pod.userMaps === undefined ? {} : { idMaps: pod.userMaps }),
  };
  await deps.rootfs.create({ id, name, imageId: image.id, metadata, ...stored }, context);
  context.stage("container storage start");
  const userns = userNamespaceOf(pod);
  const rootfs = await deps.rootfs.mount(record.id, userns === undefined ? {} : { userNamespace: userns.path });
  if (checkpoint !== undefined) await applyRootfs(checkpoint, { rootfs, signal: context.signal });
  context.signal.throwIfAborted();

  context.stage("container spec configuration");
  const accounts = accountFiles(rootfs);
  const user = resolveUser(spec.security, image.defaults.user, accounts);
  const targetPid = pidOfTarget(deps, pod, spec);
  const { node, confinement, log } = deps;
  const runtime = deps.runtimes.find(record.runtimeHandler);
  const { features: handler, minMemoryBytes } = runtime;
  checkUserNamespace(pod, { spec, user, handler });
  const { signal } = context;
  const openImage: VolumeContext["openImage"] = (volume, index) =>
    deps.imageVolumes.open(record, volume, {
      signal,
      namespace: pod.namespace,
      user: userns,
      place: `${record.runDirectory}/image-volumes/${index}`,
      ...(labels === undefined ? {} : { mountLabel: labels.mountLabel }),
    });
  const mapIds: VolumeContext["mapIds"] = (volume, index) =>
    bindMappedVolume(volume, { signal, user: userns, place: `${record.runDirectory}/volumes/${index}` });
  const root = userns === undefined ? rootfs : await deps.reachable.expose(record.id, rootfs, userns.maps);
  const { annotations } = annotated;
  const seccompArtifact = await seccompArtifactOf(deps, { pod, spec, image, annotations, signal });
  const input = {
    seccompArtifact,
    ...{ pod, spec, image, user, rootfs: root, record, targetPid },
    ...{ node, confinement, handler, minMemoryBytes, log, openImage, mapIds },
    ...annotated,
  };
  const bundle = await buildBundleSpec(input);
  const own = { directory: record.runDirectory, timezone: node.timezone, hidesFips: hidesFips(pod) };
  const owner = rootOwner(pod.userMaps);
  const classed = await withResourceClasses(
    bundle.spec,
    { container: spec.metadata.name, annotations },
    deps.classes,
  );
  const named = await withAccountFiles(classed, { files: accounts, user, owner, ...own });
  const withDevices = await withCdiDevices(await withPodMarks(named, own), requestedCdiDevices(spec), deps.cdi);
  const asked = await withSelinux(withDevices, {
    labels,
    pod,
    spec,
    volumes: bundle.mounts,
    annotations,
    ...own,
  });
  const adjusted = await deps.plugins?.creating({ pod, record, spec: asked, deps }, context);
  const oci = adjusted?.spec ?? asked;
  // The working directory and the image's volumes need not be in its layers.
  const volumes = node.rules.imageVolumes === "mkdir" ? image.defaults.volumes : [];
  for (const path of [oci.process.cwd, ...volumes]) makeDirectoriesInRoot(rootfs, path, owner);
  const notified = withSeccompNotifier(oci, {
    id,
    annotations: annotated.annotations,
    notifiers: deps.seccompNotifiers,
  });
  const complete = await withHooks(notified, input, deps.hooks);
  await Deno.writeTextFile(`${record.runDirectory}/config.json`, ociJson(complete), { mode: 0o600 });
  if (record.logFile !== "") await Deno.mkdir(dirname(record.logFile), { recursive: true, mode: 0o755 });
  if (record.logLink !== undefined) await Deno.symlink(spec.logPath, record.logLink);

  context.stage("container runtime creation");
  if (checkpoint !== undefined) await keepForStart(record, checkpoint);
  const made = checkpoint === undefined
    ? await runtime.create(monitorRequest(record), context)
    : { restoredFrom: checkpoint.from };
  await deps.records.update(record.id, (now) =>
    transition(now, "created", {
      ...made,
      ...adjusted?.changes,
      rootfs,
      mounts: bundle.mounts,
      ...(bundle.seccompProfile === undefined ? {} : { seccompProfile: bundle.seccompProfile }),
      user: { uid: user.uid, gid: user.gid, supplementalGroups: user.supplementalGroups },
    }));
}

/** The label says that a pod wants it, the annotation that it may. */
function hidesFips({ labels, annotations }: PodContext): boolean {
  return labels["FIPS_DISABLE"] === "true" && annotationValue(annotations, "disableFips") === "true";
}

/** The target has to be of the same pod, or one pod's request could reach into another. */
function pidOfTarget(deps: ContainerDeps, pod: PodContext, spec: ContainerSpec): number | undefined {
  const { pid } = spec.security.namespaces;
  if (pid.kind !== "target") return undefined;
  const target = deps.records.find(pid.containerId);
  if (target?.state !== "running" || target.sandboxId !== pod.id || target.process === undefined) return undefined;
  return deps.processes.isAlive(target.process) ? target.process.pid : undefined;
}

function accountFiles(rootfs: string): { passwd: string; group: string } {
  const text = (path: string): string => {
    const bytes = readFileInRoot(rootfs, path, { maxBytes: ACCOUNT_FILE_BYTES });
    return bytes === undefined ? "" : new TextDecoder().decode(bytes);
  };
  return { passwd: text("/etc/passwd"), group: text("/etc/group") };
}

function dirname(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}
