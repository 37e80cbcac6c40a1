import { InvalidArgumentError } from "../base/errors.ts";

/** Every path of a containers/storage overlay store. */
export class Layout {
  /** `overlay`: one directory per layer, bind-mounted on itself while the store is open. */
  readonly overlay: string;
  readonly links: string;
  readonly layers: string;
  readonly images: string;
  readonly containers: string;
  readonly temporary: string;
  readonly runOverlay: string;
  readonly runLayers: string;
  readonly runContainers: string;

  /** @throws InvalidArgumentError for roots that cannot stand in mount options */
  constructor(readonly graphRoot: string, readonly runRoot: string) {
    for (const [name, root] of [["graph root", graphRoot], ["run root", runRoot]] as const) checkRoot(name, root);
    this.overlay = `${graphRoot}/overlay`;
    this.links = `${this.overlay}/l`;
    this.layers = `${graphRoot}/overlay-layers`;
    this.images = `${graphRoot}/overlay-images`;
    this.containers = `${graphRoot}/overlay-containers`;
    this.temporary = `${graphRoot}/tmp`;
    this.runOverlay = `${runRoot}/overlay`;
    this.runLayers = `${runRoot}/overlay-layers`;
    this.runContainers = `${runRoot}/overlay-containers`;
  }

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

function checkRoot(name: string, root: string): void {
  const clean = root.startsWith("/") && root !== "/" && !root.endsWith("/") && !/\/\.{0,2}(\/|$)/.test(root);
  if (clean && !/[:,\\\p{Cc}]/u.test(root)) return;
  throw new InvalidArgumentError(
    `${name} ${JSON.stringify(root)} must be an absolute, clean path without ":", ",", "\\" or control characters, ` +
      "because it stands in mount options; choose another directory",
  );
}
