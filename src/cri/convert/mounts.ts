import type { DeviceRequest, MountRequest, ReportedMount } from "../../container/types.ts";
import { type Device, type Mount, MountPropagation } from "../gen/api.ts";
import { absolute, inside, invalid, nonEmpty, oneLine, quote } from "./_checks.ts";
import { idMaps, mapping } from "./namespaces.ts";

/** One mount of a container request. */
export function mountRequest(mount: Mount, field: string): MountRequest {
  const containerPath = absolute(mount.containerPath, `${field}.container_path`);
  const where = `${field} ${quote(containerPath)}`;
  const image = imageVolume(mount, where);
  const propagation = PROPAGATION[mount.propagation];
  if (propagation === undefined) throw invalid(where, `propagation ${String(mount.propagation)} is not known`);
  if (mount.recursiveReadOnly && !mount.readonly) throw invalid(where, "recursive_read_only needs readonly");
  if (mount.recursiveReadOnly && propagation !== "private") {
    throw invalid(where, "recursive_read_only needs private propagation");
  }
  return {
    containerPath,
    hostPath: image === undefined ? absolute(mount.hostPath, `${where} host_path`) : "",
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation,
    recursiveReadOnly: mount.recursiveReadOnly,
    uidMaps: idMaps(mount.uidMappings, `${where} uidMappings`),
    gidMaps: idMaps(mount.gidMappings, `${where} gidMappings`),
    ...(image === undefined ? {} : { image }),
  };
}

/** A mount as ContainerStatus reports it. */
export function reportedMount(mount: ReportedMount): Mount {
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: PROPAGATION_VALUES[mount.propagation],
    uidMappings: mount.uidMaps.map(mapping),
    gidMappings: mount.gidMaps.map(mapping),
    recursiveReadOnly: mount.recursiveReadOnly,
    image: mount.image === undefined ? undefined : {
      image: mount.imageId ?? mount.image.reference,
      annotations: new Map(),
      userSpecifiedImage: mount.image.specified ?? mount.image.reference,
      runtimeHandler: "",
      imageRef: mount.imageId ?? "",
    },
    imageSubPath: mount.image?.subPath ?? "",
  };
}

/** One device of a container request. An absent container path is the host's, absent permissions are all. */
export function deviceRequest(device: Device, field: string): DeviceRequest {
  const hostPath = absolute(device.hostPath, `${field}.host_path`);
  const permissions = device.permissions === "" ? "rwm" : device.permissions;
  if (!/^(?!.*(.).*\1)[rwm]+$/.test(permissions)) {
    throw invalid(`${field}.permissions`, `${quote(permissions)} is not made of r, w and m`);
  }
  const containerPath = device.containerPath === "" ? hostPath : device.containerPath;
  return { containerPath: absolute(containerPath, `${field}.container_path`), hostPath, permissions };
}

const PROPAGATION: Readonly<Record<number, MountRequest["propagation"]>> = {
  [MountPropagation.PROPAGATION_PRIVATE]: "private",
  [MountPropagation.PROPAGATION_HOST_TO_CONTAINER]: "hostToContainer",
  [MountPropagation.PROPAGATION_BIDIRECTIONAL]: "bidirectional",
};

const PROPAGATION_VALUES: Readonly<Record<MountRequest["propagation"], MountPropagation>> = {
  private: MountPropagation.PROPAGATION_PRIVATE,
  hostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
};

function imageVolume(mount: Mount, where: string): MountRequest["image"] {
  // The kubelet sends an empty ImageSpec for an ordinary mount when its feature gate is off.
  const reference = mount.image?.image ?? "";
  if (reference === "") {
    if (mount.imageSubPath !== "") throw invalid(where, "has an image_sub_path but no image");
    return undefined;
  }
  if (mount.hostPath !== "") throw invalid(where, "has both a host_path and an image");
  if (!mount.readonly) throw invalid(where, "is an image volume, which has to be readonly");
  const specified = oneLine(mount.image?.userSpecifiedImage ?? "", `${where} user_specified_image`);
  return {
    reference: oneLine(nonEmpty(reference, `${where} image`), `${where} image`),
    subPath: inside(mount.imageSubPath, `${where} image_sub_path`),
    ...(specified === "" || specified === reference ? {} : { specified }),
  };
}
