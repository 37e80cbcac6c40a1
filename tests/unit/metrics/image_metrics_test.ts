import { doesNotMatch, match, strictEqual } from "node:assert/strict";
import { Metrics } from "../../../src/metrics/metrics.ts";

const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";

Deno.test("ImageMetrics counts bytes, sizes and reuse of layers by CRI-O's names and size classes", async () => {
  const metrics = await Metrics.create();
  const { images } = metrics;
  images.received(500, { mediaType: GZIP, layerBytes: 1000 });
  images.received(700, { mediaType: GZIP, layerBytes: 2_000_000 });
  images.received(300, { mediaType: GZIP, layerBytes: 1_000_001 });
  images.received(9, { mediaType: `application/vnd.oci.image.layer.v1.${"x".repeat(99)}`, layerBytes: 20e9 });
  images.layerDone(1000);
  images.layerDone(60e6);
  images.layerReused("app@sha256:0");
  images.skipped(123);
  images.succeeded();
  const text = await metrics.text();
  const has = (line: string): void =>
    match(text, new RegExp(`^container_runtime_crio_${line.replace(/[.+{}]/g, "\\$&")}$`, "m"));
  has(`image_pulls_bytes_total{mediatype="${GZIP}",size=">0 B"} 500`);
  has(`image_pulls_bytes_total{mediatype="${GZIP}",size=">1 MiB"} 1000`);
  has(`image_pulls_bytes_total{mediatype="other",size=">10 GiB"} 9`);
  has(`image_pulls_skipped_bytes_total{size=">0 B"} 123`);
  has(`image_pulls_success_total 1`);
  has(`image_layer_reuse_total{name="app@sha256:0"} 1`);
  has(`image_pulls_layer_size_bucket{le="1000"} 1`);
  has(`image_pulls_layer_size_bucket{le="50000000"} 1`);
  has(`image_pulls_layer_size_bucket{le="100000000"} 2`);
  has(`image_pulls_layer_size_count 2`);
  strictEqual(text.match(/^container_runtime_crio_image_pulls_layer_size_bucket/gm)?.length, 12, "11 limits and +Inf");
});

Deno.test("ImageMetrics tells failures apart, and takes no label from a registry", async () => {
  const metrics = await Metrics.create();
  const failed = (over: Partial<Parameters<typeof metrics.images.failed>[0]>): void =>
    metrics.images.failed({ kind: "unavailable", message: "", codes: [], status: undefined, ...over });
  failed({ codes: ["UNAUTHORIZED"], status: 401 });
  failed({ codes: ["MADE_UP", "MANIFEST_UNKNOWN"], status: 404 });
  failed({ codes: ["MADE_UP"], status: 404 });
  failed({ message: "http://x: Connection refused (os error 111)" });
  failed({ kind: "deadline_exceeded" });
  failed({ codes: ["MADE_UP"] });
  const text = await metrics.text();
  const labels = [
    "UNAUTHORIZED",
    "MANIFEST_UNKNOWN",
    "NOT_FOUND",
    "CONNECTION_REFUSED",
    "CONNECTION_TIMEOUT",
    "UNKNOWN",
  ];
  for (const label of labels) match(text, new RegExp(`image_pulls_failure_total\\{error="${label}"\\} 1$`, "m"));
  doesNotMatch(text, /MADE_UP/);
});
