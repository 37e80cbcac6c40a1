/** Factor for all time limits of these tests, from E2E_PATIENCE: an emulated machine is some thirty times slower. */
export const PATIENCE = Number(Deno.env.get("E2E_PATIENCE") ?? "1");
