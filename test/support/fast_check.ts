/** fast-check with the seed of all generated tests, so that a commit is tried with the same cases everywhere; TEMPLORA_TEST_SEED=n tries others. */
import fc from "fast-check";
import { SEED } from "./rng.ts";

fc.configureGlobal({ seed: SEED });
export default fc;
