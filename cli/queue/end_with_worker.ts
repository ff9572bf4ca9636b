/**
 * Ends a worker's child process when its worker is gone, and with it the lock: BullMQ's part of the child would go on for ever. To be
 * imported before anything that takes long to load, since the worker may be killed meanwhile.
 */

process.on("disconnect", () => process.exit(1));
if (!process.connected) process.exit(1);

// A worker's end may first show in a write to its closed pipe (EPIPE). BullMQ tells the worker of what nothing catches, which fails in
// the same way, and so on, without ever coming to the event above.
let told = false;
process.prependListener("uncaughtException", () => {
  if (told) process.exit(1);
  told = true;
});
