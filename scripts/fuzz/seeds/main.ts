/**
 * Writes the inputs that a fuzzer begins with, those with names: `npx tsx scripts/fuzz/seeds/main.ts`. What a fuzzer finds has a hash for its
 * name, and `npm run fuzz -- TARGET --minimise` puts it beside them.
 */
import { adapterSeeds, checkpointSeeds, otherSeeds } from "./files.ts";
import { configSeeds } from "./config.ts";
import { ggufSeeds } from "./gguf.ts";
import { hubSeeds } from "./hub.ts";
import { tokenizerSeeds } from "./tokenizer.ts";

ggufSeeds();
configSeeds();
tokenizerSeeds();
checkpointSeeds();
adapterSeeds();
hubSeeds();
otherSeeds();
