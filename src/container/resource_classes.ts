import type { Annotations } from "../config/annotations.ts";
import type { OciSpec } from "../oci/spec/types.ts";
import type { BlockIoClasses } from "../performance/block_io.ts";
import { classOf } from "../performance/class_annotations.ts";
import type { RdtClasses } from "../performance/rdt_classes.ts";

/** Classes that containers can be put into by annotation. */
export interface ResourceClasses {
  /** Absent: none is configured, and what pods say of it means nothing here. */
  readonly blockIo?: Pick<BlockIoClasses, "resolve">;
  readonly rdt: Pick<RdtClasses, "closId">;
}

/**
 * The runtime configuration with the container's classes of block I/O and cache.
 *
 * @throws FailedPreconditionError for a class that this node does not have
 */
export async function withResourceClasses(
  oci: OciSpec,
  subject: { readonly container: string; readonly annotations: Annotations },
  classes: ResourceClasses | undefined,
): Promise<OciSpec> {
  if (classes === undefined) return oci;
  const ioClass = classes.blockIo === undefined ? undefined : classOf("blockio", subject);
  const rdtClass = classOf("rdt", subject);
  const blockIO = ioClass === undefined ? undefined : await classes.blockIo?.resolve(ioClass);
  const closID = rdtClass === undefined ? undefined : await classes.rdt.closId(rdtClass);
  const { linux } = oci;
  return {
    ...oci,
    linux: {
      ...linux,
      ...(blockIO === undefined ? {} : { resources: { ...linux.resources, blockIO } }),
      ...(closID === undefined ? {} : { intelRdt: { ...linux.intelRdt, closID } }),
    },
  };
}
