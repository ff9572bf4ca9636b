import v8 from "node:v8"; v8.setFlagsFromString("--experimental-wasm-relaxed-simd");
import wt from "node:worker_threads"; import { resolveObjectURL } from "node:buffer";
if (process.argv[2] !== "1") {
globalThis.navigator ??= {}; 
Object.defineProperty(globalThis, "navigator", {value: { userAgent: "", hardwareConcurrency: +process.argv[2]||2 }, configurable: true});
globalThis.Worker = class { #w; onmessage; onerror; constructor(url) {
  const blob = resolveObjectURL(String(url));
  this.#w = new wt.Worker(`const { parentPort, workerData } = require("node:worker_threads");
   globalThis.self = globalThis; globalThis.postMessage = (m) => parentPort.postMessage(m);
   const queue = []; let ready = false;
   parentPort.on("message", (data) => ready ? onmessage({ data }) : queue.push(data));
   workerData.text().then((t) => { (0, eval)(t); ready = true; for (const data of queue) onmessage({ data }); });`, { eval: true, execArgv: [], workerData: blob });
  this.#w.unref();
  this.#w.on("message", (data) => this.onmessage?.({ data })); this.#w.on("error", (e) => { console.log(e); this.onerror?.(e); });
} postMessage(m) { this.#w.postMessage(m); } terminate() { return this.#w.terminate(); } };
}
const keep = setInterval(()=>{}, 1e6);
const jax = await import("@jax-js/jax"); const np = jax.numpy;
await jax.init("wasm"); jax.defaultDevice("wasm");
for (const n of [512, 1024]) {
  const a = np.array(new Float32Array(n*n).map(Math.random)).reshape([n,n]), b = np.array(new Float32Array(n*n).map(Math.random)).reshape([n,n]);
  await jax.blockUntilReady([a,b]);
  const fs = { matmul: () => np.matmul(a.ref, b.ref), nt: () => np.matmul(a.ref, b.ref.transpose()) };
  const j = jax.jit((x,y)=>np.matmul(x,y)); fs.jit = () => j(a.ref,b.ref);
  const jn = jax.jit((x,y)=>np.matmul(x,y.transpose())); fs.jitnt = () => jn(a.ref,b.ref);
 const ts={}; for(const k in fs) {ts[k]=[]; for(let i=0;i<4;i++){const c=fs[k](); await c.blockUntilReady(); c.dispose();}}
 for (let r=0;r<25;r++) for (const k in fs) { const t=performance.now(); const c=fs[k](); await c.blockUntilReady(); ts[k].push(performance.now()-t); c.dispose();}
 for (const k in fs) { ts[k].sort((x,y)=>x-y); console.log(n, k, (2*n**3/ts[k][1]/1e6).toFixed(1), (2*n**3/ts[k][6]/1e6).toFixed(1), (2*n**3/ts[k][12]/1e6).toFixed(1)); }
}
clearInterval(keep);
process.exit();
