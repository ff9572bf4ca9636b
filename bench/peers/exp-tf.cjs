const os = require("node:os"); const real = os.cpus(); os.cpus = () => [...real, ...real];
const wt = require("node:worker_threads");
const { join, dirname } = require("node:path");
const root = dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"));
const script = join(root, "wasm-out/tfjs-backend-wasm-threaded-simd.js");
const { wasmWorkerContents } = require(join(root, "wasm-out/tfjs-backend-wasm-threaded-simd.worker.js"));
const Real = wt.Worker;
class Shim extends Real {
  constructor(url, o) { super(wasmWorkerContents.replace(/\n/g, "\\n"), { eval: true, execArgv: [] }); console.log("worker", String(url).slice(0,60)); this.unref(); }
  postMessage(m, t) { if (m && m.cmd === "load") m = { ...m, urlOrBlob: script }; super.postMessage(m, t); }
}
wt.Worker = Shim;
const tf = require("@tensorflow/tfjs-core");
const wasm = require("@tensorflow/tfjs-backend-wasm");
tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", process.argv[2] !== "1");
wasm.setThreadsCount(+process.argv[2]||2);
(async () => {
  await tf.setBackend("wasm"); console.log(tf.getBackend(), wasm.getThreadsCount());
  for (const n of [512, 1024]) {
    const a = tf.randomUniform([n,n]), b = tf.randomUniform([n,n]);
    for (const [ta,tb] of [[false,false],[false,true]]) {
      if (tb && n > 512) continue;
      let ts=[]; for (let i=0;i<12;i++){const t=performance.now(); const c=tf.matMul(a,b,ta,tb); ts.push(performance.now()-t); c.dispose();}
      ts.sort((x,y)=>x-y); console.log(n, ta, tb, (2*n**3/ts[2]/1e6).toFixed(1), (2*n**3/ts[6]/1e6).toFixed(1));
    }
  }
})();
