import { InvalidArgumentError } from "../../base/errors.ts";
import type { DeviceWish } from "./host_devices.ts";

/**
 * `host-path[:container-path][:permissions]`, as crio.conf and annotations write devices; the container path has to lie below `/dev`.
 *
 * @param source for messages: what the line stands in
 * @throws InvalidArgumentError
 */
export function parseDeviceLine(line: string, source: string): DeviceWish {
  const refuse = (why: string): never => {
    throw new InvalidArgumentError(
      `${source}: device ${JSON.stringify(line)} ${why}; the form is host-path[:container-path][:rwm]`,
    );
  };
  const [hostPath = "", second = "", third, ...more] = line.split(":");
  if (more.length > 0) refuse("has more than three parts");
  if (!hostPath.startsWith("/")) refuse("does not begin with an absolute path");
  const hasMode = third === undefined && isMode(second);
  const permissions = hasMode ? second : third ?? "rwm";
  if (!isMode(permissions)) refuse(`has the permissions ${JSON.stringify(permissions)}, which are not some of r, w, m`);
  const containerPath = hasMode || second === "" ? hostPath : second;
  if (!/^\/dev\/./.test(containerPath) || containerPath.split("/").includes("..")) {
    refuse(`has the container path ${JSON.stringify(containerPath)}, which is not below /dev`);
  }
  return { hostPath, containerPath, permissions };
}

/**
 * The devices that an annotation asks for, a comma between two.
 *
 * @param allowed host paths that may be asked for (`allowed_devices`)
 * @throws InvalidArgumentError for a line that is wrong, and for a device that is not allowed
 */
export function parseDeviceAnnotation(value: string, allowed: readonly string[]): DeviceWish[] {
  const source = "annotation devices.crio.io";
  return value.split(",").map((line) => line.trim()).filter((line) => line !== "").map((line) => {
    const wish = parseDeviceLine(line, source);
    if (allowed.includes(wish.hostPath)) return wish;
    throw new InvalidArgumentError(
      `${source}: device ${wish.hostPath} is not among allowed_devices of [crio.runtime] (${
        allowed.join(", ") || "none"
      })`,
    );
  });
}

function isMode(text: string): boolean {
  return /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;
}
