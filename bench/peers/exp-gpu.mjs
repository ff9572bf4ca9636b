import { createRequire } from "node:module"; const require = createRequire(import.meta.url);
const { create, globals } = await import("webgpu"); Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", {value: { userAgent: "", hardwareConcurrency: 2, gpu: create([]) }, configurable: true});
const jax = await import("@jax-js/jax"); const np = jax.numpy;
const tf = require("@tensorflow/tfjs-core"); require("@tensorflow/tfjs-backend-webgpu");
console.log(await jax.init("webgpu")); jax.defaultDevice("webgpu");
console.log(await tf.setBackend("webgpu"), tf.getBackend());
const n = +process.argv[2] || 512;
const A = new Float32Array(n*n).map(Math.random), B = new Float32Array(n*n).map(Math.random);
const a = np.array(A).reshape([n,n]), b = np.array(B).reshape([n,n]); await jax.blockUntilReady([a,b]);
const ta = tf.tensor2d(A,[n,n]), tb = tf.tensor2d(B,[n,n]);
const dev = jax.getWebGPUDevice();
const j = jax.jit((x,y)=>np.matmul(x,y));
const be = tf.backend();
const fs = {
  "jax matmul": async () => { const c = np.matmul(a.ref, b.ref); await c.blockUntilReady(); await dev.queue.onSubmittedWorkDone(); c.dispose(); },
  "jax nt": async () => { const c = np.matmul(a.ref, b.ref.transpose()); await c.blockUntilReady(); await dev.queue.onSubmittedWorkDone(); c.dispose(); },
  "jax jit": async () => { const c = j(a.ref, b.ref); await c.blockUntilReady(); await dev.queue.onSubmittedWorkDone(); c.dispose(); },
  "jax read0": async () => { const c = j(a.ref, b.ref); await c.blockUntilReady(); c.dispose(); },
  "tf": async () => { const c = tf.matMul(ta, tb); be.endComputePassEncoder(), be.submitQueue(); await be.device.queue.onSubmittedWorkDone(); c.dispose(); },
  "tf nt": async () => { const c = tf.matMul(ta, tb, false, true); be.endComputePassEncoder(), be.submitQueue(); await be.device.queue.onSubmittedWorkDone(); c.dispose(); },
};
for (const v of [-1,1,2,3]) fs["tf program "+v] = async () => { tf.env().set("WEBGPU_MATMUL_PROGRAM_TYPE", v); const c = tf.matMul(ta, tb); be.endComputePassEncoder(), be.submitQueue(); await be.device.queue.onSubmittedWorkDone(); c.dispose(); };
const res = {}; for (const k in fs) { res[k]=[]; const t=performance.now(); await fs[k](); console.log(k, "first", (performance.now()-t).toFixed(0)); }
for (let r=0;r<5;r++) for (const k in fs) { const t=performance.now(); await fs[k](); res[k].push(performance.now()-t); }
for (const k in fs) { const x=res[k].sort((p,q)=>p-q); console.log(k.padEnd(14), (2*n**3/x[0]/1e6).toFixed(2), (2*n**3/x[2]/1e6).toFixed(2)); }
process.exit();
