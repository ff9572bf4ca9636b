/** The process whose memory suite `memory` measures; its argument is the job, its output one JSON line for each chunk. */
import { at } from "../kernels/base/at.ts";
import { type MemoryJob, readChunks } from "./memory.ts";

await readChunks(JSON.parse(at(process.argv, 2)) as MemoryJob, (found) => console.log(JSON.stringify(found)));
process.exit();
