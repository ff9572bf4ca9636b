// @ts-check
/** For `node --import`: the wall clock jumps by years, now forward, now back, at every look. Monotonic time goes on. */
const YEARS = 5 * 365 * 24 * 3_600_000;
let looks = 0;
const { now } = Date;
Date.now = () => now() + (looks++ % 2 === 0 ? YEARS : -YEARS);
globalThis.Date = new Proxy(Date, {
  construct: (target, /** @type {[number?]} */ [time]) => new target(time ?? target.now()),
});
