/** The programs that can be a queue's server: how each is found, prepared, started and stopped. */
import { spawnSync } from "node:child_process";
import { chownSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface ServerProgram {
  readonly name: string;
  /** Why it is not there, or undefined. */
  readonly missing: string | undefined;
  url(port: number): string;
  /** Once, in an empty folder of the server's. */
  prepare(folder: string): void;
  command(folder: string, port: number): readonly [program: string, args: readonly string[]];
  /** Who runs it; undefined: who runs the tests. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** Ends it at once, with all that was told as done kept. */
  readonly stop: NodeJS.Signals;
  /** Whether it takes calls, once its port is open. */
  isReady(port: number): boolean;
}

export const isThere = (program: string): boolean => spawnSync(program, ["--version"]).error === undefined;
const redisProgram = ["valkey-server", "redis-server"].find(isThere);

export const redis: ServerProgram = {
  name: "Redis",
  missing: redisProgram === undefined ? "neither valkey-server nor redis-server" : undefined,
  url: (port) => `redis://127.0.0.1:${port}`,
  prepare: () => undefined,
  command: (folder, port) => [
    redisProgram ?? "",
    [
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder],
      ...["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
    ],
  ],
  user: undefined,
  stop: "SIGTERM",
  isReady: () => true,
};

/** Where Debian has its programs, the newest version first; elsewhere they are on PATH. */
const debian = "/usr/lib/postgresql";
const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
const folders = [...versions.map((version) => `${debian}/${version}/bin/`), ""];
const bin = folders.find((folder) => isThere(`${folder}initdb`) && isThere(`${folder}postgres`));
/** With what an address must write otherwise. */
const password = "p@ss word";

/** PostgreSQL does not run as root. */
function unprivileged(): ServerProgram["user"] {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string): number => Number(spawnSync("id", [flag, "nobody"], { encoding: "utf8" }).stdout);
  return { uid: id("-u"), gid: id("-g") };
}

export const postgres: ServerProgram = {
  name: "PostgreSQL",
  missing: bin === undefined ? "neither initdb and postgres on PATH nor in /usr/lib/postgresql" : undefined,
  url: (port) => `postgres://templora:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`,
  prepare(folder) {
    const passwords = join(folder, "password");
    writeFileSync(passwords, password);
    if (this.user) for (const path of [folder, passwords]) chownSync(path, this.user.uid, this.user.gid);
    const args = [
      "--auth=scram-sha-256",
      `--pwfile=${passwords}`,
      "--locale=C",
      "--encoding=UTF8",
      "--no-sync",
    ];
    const made = spawnSync(`${bin}initdb`, ["-D", join(folder, "data"), "-U", "templora", ...args], {
      ...{ cwd: folder, encoding: "utf8", ...this.user },
    });
    if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  },
  command: (folder, port) => [
    `${bin}postgres`,
    [
      ...["-D", join(folder, "data"), "-p", String(port), "-k", folder],
      ...["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"], // the machine does not fail
    ],
  ],
  user: bin === undefined ? undefined : unprivileged(),
  stop: "SIGINT",
  isReady: (port) => spawnSync(`${bin}pg_isready`, ["-h", "127.0.0.1", "-p", String(port)]).status === 0,
};
