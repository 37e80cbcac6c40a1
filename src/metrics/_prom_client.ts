/** A chunk of its own, loaded where metrics are on: imported at run time, the CommonJS package itself would show the bundle no names. */
export { Counter, Gauge, Histogram, Registry, Summary } from "prom-client";
