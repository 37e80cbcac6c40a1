import { absolute, absoluteOrEmpty, imageSources, oneOf, podOrSlice } from "./_checks.ts";
import { duration, list, off, on, text } from "./option.ts";

/** `[crio.image]`. */
export const IMAGE = {
  defaultTransport: text("default_transport", "docker://", {
    check: oneOf("docker://", ""),
    doc: "Put before image names that have no transport.",
  }),
  globalAuthFile: text("global_auth_file", "", {
    doc: "File of registry credentials (auth.json) for pulls that bring none.",
  }),
  namespacedAuthDir: text("namespaced_auth_dir", "/etc/crio/auth", {
    hidden: true,
    doc: "Directory of credentials that are used once, per Kubernetes namespace.",
  }),
  pauseImage: text("pause_image", "registry.k8s.io/pause:3.10.1", {
    reload: true,
    doc: "Image of the infra process of pods that need one; never garbage-collected. May be a place on this node.",
  }),
  pauseImageAuthFile: text("pause_image_auth_file", "", {
    reload: true,
    // No pod needs a pause image here.
    built: false,
    doc: "Credentials for the pause image. Empty: those of global_auth_file.",
  }),
  pauseCommand: text("pause_command", "/pause", {
    reload: true,
    // The infra process is a program of the daemon's own.
    built: false,
    doc: "Command of the infra process.",
  }),
  pinnedImages: list("pinned_images", [], {
    reload: true,
    doc: "Images that the kubelet must not collect: exact names, glob* or *keyword*.",
  }),
  signaturePolicy: text("signature_policy", "", {
    doc: "Signature policy file. Empty: /etc/containers/policy.json.",
  }),
  signaturePolicyDir: text("signature_policy_dir", "/etc/crio/policies", {
    check: absolute,
    doc: "Directory of policies per Kubernetes namespace, <namespace>.json.",
  }),
  imageVolumes: text("image_volumes", "mkdir", {
    check: oneOf("mkdir", "bind", "ignore"),
    doc: "What is done with volumes that an image declares: mkdir, bind or ignore.",
  }),
  imagesDir: text("images_dir", "/var/lib/crio/images.d", {
    check: absolute,
    doc: "Drop folder: image archives and OCI layouts that are put there are imported. Not in CRI-O.",
  }),
  imageSources: list("image_sources", [], {
    check: imageSources,
    doc: "Places on this node that are asked before registries, PREFIX=TRANSPORT:PATH with the transports oci,\n" +
      "oci-archive, docker-archive and dir. Not in CRI-O.",
  }),
  insecureRegistries: list("insecure_registries", [], {
    flag: "insecure-registry",
    env: "CONTAINER_INSECURE_REGISTRY",
    deprecated: "it has no effect: use insecure = true in registries.conf",
    built: false,
    doc: "Has no effect.",
  }),
  bigFilesTemporaryDir: text("big_files_temporary_dir", "", {
    check: absoluteOrEmpty,
    doc: "Directory in which compressed image archives are unpacked. Empty: that of the store.",
  }),
  autoReloadRegistries: off("auto_reload_registries", {
    env: "AUTO_RELOAD_REGISTRIES",
    doc: "Accepted. Changes of registries.conf and registries.conf.d count from the next pull on, with or without it.",
  }),
  pullProgressTimeoutMs: duration("pull_progress_timeout", "0s", {
    doc: "A pull that makes no progress for this long is cancelled; 0 is no limit.",
  }),
  ociArtifactMountSupport: on("oci_artifact_mount_support", {
    env: "CONTAINER_OCI_ARTIFACT_SUPPORT",
    doc: "Whether OCI artifacts can be mounted as volumes.",
  }),
  shortNameMode: text("short_name_mode", "enforcing", {
    check: oneOf("", "enforcing", "disabled"),
    doc: "Whether a name without a registry must have one meaning only: enforcing or disabled.",
  }),
  separatePullCgroup: text("separate_pull_cgroup", "", {
    env: "PULL_IN_A_CGROUP",
    built: false,
    check: podOrSlice,
    doc: "Cgroup of pulls: pod or a systemd slice. Empty: that of the daemon. Read from crio.runtime too.",
  }),
};
