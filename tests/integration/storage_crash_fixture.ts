/** What the crash test and its child agree on. */
export const NAME = "localhost/crash:1";
export const CONTAINER = "c".repeat(64);
/** Work that is done with a separate image store. */
export const SPLIT = " with an image store";
export const imageStoreOf = (directory: string, what: string): { imageStore?: string } =>
  what.endsWith(SPLIT) ? { imageStore: `${directory}/images` } : {};
export const CONTENTS = [{ "etc/one": "1" }, { "etc/two": "2" }];
