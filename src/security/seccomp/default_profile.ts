import json from "../../../conf/seccomp.json" with { type: "json" };
import { readSeccompProfile, type SeccompProfile } from "./profile.ts";

/** The profile of RuntimeDefault where crio.conf names none: `conf/seccomp.json`, which is part of the program. */
export function builtInProfile(): SeccompProfile {
  return readSeccompProfile(json);
}
