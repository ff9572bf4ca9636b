/** Tensors: made from arrays, computed with, read back. `npx tsx examples/01-tensor.ts` */
import { Task, add, linear, openDevice } from "templora/engine";

await using device = await openDevice("cpu", { threads: 1 });
{
  using task = new Task(device); // owns what is made in here, and frees it at its end
  const x = task.tensor([[1, 2, 3], [4, 5, 6]]); // prettier-ignore
  const w = task.tensor([
    [1, 0, 0],
    [0, 1, 1],
  ]); // (out, in), as Hugging Face stores weights; prettier-ignore
  const y = linear(x, w); // x · wᵀ
  console.log(y); // shape, dtype and place; values stay on the device until they are read
  console.log("y", [...(await y.data())]); // [1, 5, 4, 11]
  console.log("y + y", [...(await add(y, y).data())]); // [2, 10, 8, 22]
  console.log("chained", [...(await x.linear(w).reshape([4]).data())]); // [1, 5, 4, 11]
  console.log("one row", [...(await y.rows(1).data())]); // [4, 11]
  console.log("operations", task.meter.flops); // two products of 2 · 2 · 2 · 3 each, and 4 additions: 52
}
console.log("buffers left", device.stats().liveBuffers); // 0
