/** What a queue's server is asked for beside BullMQ's own calls. Redis (or Valkey) and PostgreSQL are such servers. */
import type { ConnectionOptions, createRedisBackend } from "bullmq";
import type { Task } from "./tasks.ts";

export interface QueueFacts {
  readonly name: string;
  /** Memory that its tasks take at most. */
  readonly gib: number;
  readonly model: Task["model"];
  /** The id of its tasks' store; none in queues of stores without one. */
  readonly store?: string;
}

export interface QueueServer extends AsyncDisposable {
  /** What BullMQ's queues and workers are made with, in the types of Redis: those of PostgreSQL differ in what is not used here. */
  readonly connection: ConnectionOptions;
  readonly backend: typeof createRedisBackend;
  /** Milliseconds between this machine's clock and the one by which locks end. */
  readonly clockOff: number;
  /** All queues that were ever made known, in any order. */
  known(): Promise<QueueFacts[]>;
  /** Makes a queue known; again is the same as once. */
  register(facts: QueueFacts): Promise<void>;
  /** Tasks that are to be stopped where they run, each by its queue and key (`inQueue`). */
  cancel(key: string): Promise<void>;
  uncancel(key: string): Promise<void>;
  isCancelled(key: string): Promise<boolean>;
}

/** Other stores have tasks of the same key. */
export const inQueue = ({ name }: { readonly name: string }, key: string): string => `${name}/${key}`;

/** How long a server may take to answer at first. */
export const CONNECT_MS = 5000;

/** A server that answers, but not to this user: a wrong password, a database that it does not have. */
export class RefusedError extends Error {}
