import type { Check } from "./checks.ts";
import { CLUSTER_CHECKS } from "./checks/cluster.ts";
import { ENDINGS } from "./checks/endings.ts";
import { IMAGES } from "./checks/images.ts";
import { KUBECTL } from "./checks/kubectl.ts";
import { LIFECYCLE } from "./checks/lifecycle.ts";
import { NETWORK } from "./checks/network.ts";
import { PROBES } from "./checks/probes.ts";
import { RESOURCES } from "./checks/resources.ts";
import { LEFTOVERS, RESTARTS } from "./checks/restarts.ts";
import { SECURITY } from "./checks/security.ts";
import { STATS } from "./checks/stats.ts";
import { STREAMS } from "./checks/streams.ts";
import { VOLUMES } from "./checks/volumes.ts";

/** In this order; each says itself in which modes it is made. */
export const ALL_CHECKS: readonly Check[] = [
  ...LIFECYCLE,
  ...ENDINGS,
  ...PROBES,
  ...VOLUMES,
  ...RESOURCES,
  ...NETWORK,
  ...SECURITY,
  ...STREAMS,
  ...IMAGES,
  ...STATS,
  ...KUBECTL,
  ...CLUSTER_CHECKS,
  ...RESTARTS,
  ...LEFTOVERS,
];
