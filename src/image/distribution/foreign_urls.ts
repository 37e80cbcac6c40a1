import type { BlobSource } from "./blob_reader.ts";
import type { RegistryHost } from "./registry_host.ts";

/** More are not tried: each is a request to a host that the image's author names. */
const MAX_URLS = 5;

/**
 * The places that a descriptor's `urls` name: non-distributable layers need not be in the registry. They are asked without
 * credentials; what comes is checked against the descriptor like everything.
 *
 * @param like the registry that named them: its limits and transports count for them too
 */
export function foreignSources(urls: readonly string[], like: RegistryHost): readonly BlobSource[] {
  const parsed = urls.slice(0, MAX_URLS).map((text) => URL.parse(text));
  return parsed.flatMap((url) => {
    if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) return [];
    const host = like.anonymous(url.host, url.protocol === "http:" ? "plain" : "tls");
    return [{ host, repositoryPath: "", path: `${url.pathname}${url.search}` }];
  });
}
