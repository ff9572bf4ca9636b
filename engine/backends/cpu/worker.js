// @ts-check
/** A worker thread of the `cpu` device: waits for a command, takes part in it, waits again. Why JavaScript: control.js. */
import { handed, tellReady } from "../host/workers.js";
import { Control, GLANCES, OPEN, instantiate, word } from "./control.js";

/**
 * @typedef {object} WorkerData
 * @property {WebAssembly.Module} module
 * @property {WebAssembly.Memory} memory
 * @property {boolean} wide
 * @property {SharedArrayBuffer | ArrayBuffer} control
 * @property {number} thread
 * @property {number} spinMs how long to poll for the next command before sleeping
 */

const { module, memory, wide, control: block, thread, spinMs } = /** @type {WorkerData} */ (handed);
const control = new Control(block);
const functions = instantiate(module, memory, wide);
const { words } = control;

/**
 * Waits until the count of commands differs from `seen`; returns it.
 * @param {number} seen
 */
function waitForCommand(seen) {
  const until = performance.now() + spinMs;
  do {
    for (let i = 0; i < GLANCES; i++) {
      const command = Atomics.load(words, word.command);
      if (command !== seen) return command;
    }
  } while (performance.now() < until);
  Atomics.add(words, word.sleepers, 1);
  Atomics.wait(words, word.command, seen);
  Atomics.sub(words, word.sleepers, 1);
  return Atomics.load(words, word.command);
}

/** Takes part in the open command; false when there is none, or enough others do. */
function join() {
  for (;;) {
    const state = Atomics.load(words, word.state);
    if (state < OPEN || control.isFull(state - OPEN)) return false;
    if (Atomics.compareExchange(words, word.state, state, state + 1) === state) return true;
  }
}

tellReady();
for (let seen = 0; ;) {
  seen = waitForCommand(seen);
  if (!join()) continue;
  control.work(functions, thread);
  // The last worker of a closed command wakes the main thread, in case it sleeps.
  if (Atomics.sub(words, word.state, 1) === 1) Atomics.notify(words, word.state);
}
