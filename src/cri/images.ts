import { filesystemUsage, image, imageInfo, imageReference, pullRequest } from "./convert/image.ts";
import { EncodedItems } from "./encoded_items.ts";
import {
  Image,
  type ImageFsInfoResponse,
  type ImageStatusResponse,
  type ListImagesRequest,
  type PullImageResponse,
  type RemoveImageResponse,
  type StreamImagesRequest,
} from "./gen/api.ts";
import type { Cancellable, ImageInfo, ImageOperations } from "./operations.ts";
import type { ImageHandlers } from "./server.ts";
import type { EncodedResponse } from "./unary.ts";

/** The RPCs of ImageService. */
export function imageHandlers(images: ImageOperations): Required<ImageHandlers> {
  const items = new EncodedItems((info: ImageInfo) => Image.encode(image(info)).finish());
  return {
    async listImages(request, context): Promise<EncodedResponse> {
      return items.response(await matching(images, { request, signal: context.signal }));
    },

    async *streamImages(request, context): AsyncGenerator<EncodedResponse> {
      yield* items.responses(await matching(images, { request, signal: context.signal }));
    },

    async imageStatus(request, context): Promise<ImageStatusResponse> {
      const found = await images.find(imageReference(request.image), context);
      if (found === undefined) return { image: undefined, info: new Map() };
      const info = request.verbose ? imageInfo(await images.config(found.id, context)) : new Map();
      return { image: image(found), info };
    },

    async pullImage(request, context): Promise<PullImageResponse> {
      const pull = pullRequest(request);
      const beganMs = performance.now();
      const imageRef = await images.pull(pull, context);
      const seconds = Math.round(performance.now() - beganMs) / 1000;
      context.log.info("image pulled", { image: pull.image, imageRef, seconds });
      return { imageRef };
    },

    async removeImage(request, context): Promise<RemoveImageResponse> {
      const reference = imageReference(request.image);
      await images.remove(reference, context);
      context.log.info("image removed", { image: reference });
      return {};
    },

    async imageFsInfo(_request, context): Promise<ImageFsInfoResponse> {
      const { images: imageUse, containers } = await images.fsInfo(context);
      return {
        imageFilesystems: imageUse.map(filesystemUsage),
        containerFilesystems: containers.map(filesystemUsage),
      };
    },
  };
}

async function matching(
  images: ImageOperations,
  { request, signal }: Cancellable & { request: ListImagesRequest | StreamImagesRequest },
): Promise<Iterable<ImageInfo>> {
  const wanted = request.filter?.image?.image ?? "";
  if (wanted === "") return await images.list({ signal });
  const found = await images.find(wanted, { signal });
  return found === undefined ? [] : [found];
}
