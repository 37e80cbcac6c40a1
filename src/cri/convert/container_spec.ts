import type { ContainerSpec } from "../../container/types.ts";
import type { ContainerConfig, KeyValue } from "../gen/api.ts";
import {
  absolute,
  clean,
  inside,
  invalid,
  labels,
  nameLike,
  nonEmpty,
  oneLine,
  plainRecord,
  quote,
  required,
} from "./_checks.ts";
import { deviceRequest, mountRequest } from "./mounts.ts";
import { resourceLimits } from "./resources.ts";
import { containerSecurity } from "./security.ts";
import { signalName } from "./signal.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The request for a container, checked as far as that needs no state. The Windows part is ignored.
 *
 * @throws InvalidArgumentError, UnimplementedError that name the field
 */
export function containerSpec(request: ContainerConfig | undefined, field = "config"): ContainerSpec {
  const config = required(request, field);
  const { linux } = config;
  const stopSignal = signalName(config.stopSignal, `${field}.stop_signal`);
  return {
    metadata: containerMetadata(config, `${field}.metadata`),
    image: imageRequest(config, `${field}.image`),
    command: config.command.map((word) => clean(word, `${field}.command`)),
    args: config.args.map((word) => clean(word, `${field}.args`)),
    workingDir: config.workingDir === "" ? "" : absolute(config.workingDir, `${field}.working_dir`),
    env: config.envs.map((entry) => environment(entry, `${field}.envs`)),
    mounts: config.mounts.map((mount, i) => mountRequest(mount, `${field}.mounts[${i}]`)),
    devices: config.devices.map((device, i) => deviceRequest(device, `${field}.devices[${i}]`)),
    cdiDevices: config.CDIDevices.map(({ name }) => oneLine(nonEmpty(name, `${field}.CDI_devices`), field)),
    labels: labels(config.labels, `${field}.labels`),
    annotations: plainRecord(config.annotations),
    logPath: oneLine(inside(config.logPath, `${field}.log_path`), `${field}.log_path`),
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    resources: resourceLimits(linux?.resources, `${field}.linux.resources`),
    security: containerSecurity(linux?.securityContext, `${field}.linux.security_context`),
    ...(stopSignal === undefined ? {} : { stopSignal }),
  };
}

function containerMetadata(config: ContainerConfig, field: string): ContainerSpec["metadata"] {
  const { name, attempt } = required(config.metadata, field);
  return { name: nameLike(name, `${field}.name`), attempt };
}

function imageRequest(config: ContainerConfig, field: string): ContainerSpec["image"] {
  const image = required(config.image, field);
  return {
    image: oneLine(nonEmpty(image.image, `${field}.image`), `${field}.image`),
    userSpecifiedImage: oneLine(image.userSpecifiedImage, `${field}.user_specified_image`),
    runtimeHandler: oneLine(image.runtimeHandler, `${field}.runtime_handler`),
    annotations: plainRecord(image.annotations),
  };
}

function environment({ key, value }: KeyValue, field: string): { key: string; value: string } {
  if (key === "" || key.includes("=")) throw invalid(field, `${quote(key)} is not the name of a variable`);
  const text = clean(decoded(value, `${field}.${clean(key, field)}`), `${field}.${key}`);
  // The home directory goes into a line of the container's /etc/passwd, where a newline would add a user.
  if (key === "HOME") oneLine(text, `${field}.HOME`);
  return { key, value: text };
}

/** The runtime reads the environment from JSON, which holds text only. */
function decoded(bytes: Uint8Array, field: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw invalid(field, "is not UTF-8");
  }
}
