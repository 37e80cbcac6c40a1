import { InvalidArgumentError } from "../base/errors.ts";

/** A directory that holds layers: the graph root, or the image store beside it. */
export interface LayerRoot {
  readonly root: string;
  readonly overlay: string;
  readonly links: string;
  readonly temporary: string;
}

/** Every path of a containers/storage overlay store. */
export class Layout {
  /** `overlay`: one directory per layer, bind-mounted on itself while the store is open. */
  readonly overlay: string;
  readonly links: string;
  readonly layers: string;
  /** Of the image store, where there is one. */
  readonly images: string;
  /** Images from before there was an image store; undefined without one. */
  readonly formerImages: string | undefined;
  readonly containers: string;
  readonly temporary: string;
  readonly runOverlay: string;
  readonly runLayers: string;
  readonly runContainers: string;
  /** Where containers' layers are. */
  readonly own: LayerRoot;
  /** Where the layers of new images go: the image store, or the same object as `own`. */
  readonly forImages: LayerRoot;

  /**
   * @param imageStore a separate directory for images
   * @throws InvalidArgumentError for roots that cannot stand in mount options
   */
  constructor(readonly graphRoot: string, readonly runRoot: string, imageStore?: string) {
    checkRoot("graph root", graphRoot);
    checkRoot("run root", runRoot);
    if (imageStore !== undefined) checkRoot("image store", imageStore);
    if (imageStore === graphRoot) throw new InvalidArgumentError(`the image store ${imageStore} is the graph root too`);
    this.own = layerRoot(graphRoot);
    this.forImages = imageStore === undefined ? this.own : layerRoot(imageStore);
    this.overlay = this.own.overlay;
    this.links = this.own.links;
    this.temporary = this.own.temporary;
    this.layers = `${graphRoot}/overlay-layers`;
    this.images = `${this.forImages.root}/overlay-images`;
    this.formerImages = imageStore === undefined ? undefined : `${graphRoot}/overlay-images`;
    this.containers = `${graphRoot}/overlay-containers`;
    this.runOverlay = `${runRoot}/overlay`;
    this.runLayers = `${runRoot}/overlay-layers`;
    this.runContainers = `${runRoot}/overlay-containers`;
  }

  /** Directories that hold layers of this store. */
  get layerRoots(): readonly LayerRoot[] {
    return this.own === this.forImages ? [this.own] : [this.own, this.forImages];
  }

  /** Of a container, or of an image where there is no image store. */
  layer(id: string): string {
    return `${this.overlay}/${id}`;
  }

  tarSplit(layerId: string): string {
    return `${this.layers}/${layerId}.tar-split.gz`;
  }

  image(id: string): string {
    return `${this.images}/${id}`;
  }

  container(id: string): string {
    return `${this.containers}/${id}`;
  }

  containerRun(id: string): string {
    return `${this.runContainers}/${id}`;
  }
}

const HEX_ID = /^[0-9a-f]{64}$/;

/** Whether `text` is an id that may become a file name. */
export function isId(text: string): boolean {
  return HEX_ID.test(text);
}

/**
 * File name of a big-data key: `=` and Base64, unless all of it but the last character is lower-case letters, digits
 * and dots (containers/storage looks no further).
 */
export function bigDataFileName(key: string): string {
  if (/^[.0-9a-z]*[^/\0]$/.test(key) && key !== "." && key !== "..") return key;
  return `=${new TextEncoder().encode(key).toBase64()}`;
}

function layerRoot(root: string): LayerRoot {
  const overlay = `${root}/overlay`;
  return { root, overlay, links: `${overlay}/l`, temporary: `${root}/tmp` };
}

/** @throws InvalidArgumentError for a root that cannot stand in mount options */
export function checkRoot(name: string, root: string): void {
  const clean = root.startsWith("/") && root !== "/" && !root.endsWith("/") && !/\/\.{0,2}(\/|$)/.test(root);
  if (clean && !/[:,\\\p{Cc}]/u.test(root)) return;
  throw new InvalidArgumentError(
    `${name} ${JSON.stringify(root)} must be an absolute, clean path without ":", ",", "\\" or control characters, ` +
      "because it stands in mount options; choose another directory",
  );
}
