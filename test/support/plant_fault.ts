/** Imported before the command line, plants the fault that TEMPLORA_TEST_FAULT has as JSON (device_faults.ts). */
import { type Fault, plant } from "./device_faults.ts";

await plant(JSON.parse(process.env["TEMPLORA_TEST_FAULT"] ?? "") as Fault);
process.on("unhandledRejection", (error) => console.error("unhandled:", error));
