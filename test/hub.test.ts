/**
 * `templora pull`, `templora models` and `--model ORG/NAME` against a hub of the test's own (support/hub_server.ts): what comes, in
 * which layout, and what is said when something goes wrong.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Terminal } from "../cli/output.ts";
import { run } from "../cli/program.ts";
import { DownloadProgress } from "../cli/progress.ts";
import { type Outcome, jsonLines, templora } from "./support/cli.ts";
import { HubServer, type Trouble } from "./support/hub_server.ts";
import { ggufBytes, smallGguf, temporaryFolder } from "./support/model_files.ts";

const test = suite("hub");
const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const hub = new HubServer(at("hub"));
const cache = at("home/hub");
const book = "test/golden/moby-dick-excerpt.txt";

for (const [repo, golden] of [
  ["tiny/folder", "tiny-tied"],
  ["tiny/parts", "tiny-untied-sharded"],
] as const)
  cpSync(`test/golden/${golden}`, at("hub", repo), { recursive: true });
const ggufs = ["m-Q4_0.gguf", "m-Q4_K_M.gguf", "sub/M.q4_k_m-00001-of-00002.gguf", "mmproj-m-Q4_0.gguf"];
for (const name of [...ggufs, "sub/M.q4_k_m-00002-of-00002.gguf", "README.md"]) {
  mkdirSync(at("hub/tiny/gguf/sub"), { recursive: true });
  writeFileSync(at("hub/tiny/gguf", name), name.endsWith("gguf") ? ggufBytes(smallGguf()) : "# read me");
}

test.before(async () => {
  await hub.start();
  Object.assign(process.env, { HF_HOME: at("home"), TEMPLORA_CACHE: at("templora") });
});
test.before.each(() => {
  rmSync(at("home"), { recursive: true, force: true });
  hub.asked.length = 0;
  hub.trouble = () => null;
  hub.listing = (entries) => entries;
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"])
    Reflect.deleteProperty(process.env, name);
  process.env["HF_ENDPOINT"] = hub.endpoint;
});
test.after(() => hub.stop());

const pull = (model: string, ...more: string[]): Promise<Outcome> => templora(["pull", model, ...more]);
const repoFolder = (repo: string): string => join(cache, `models--${repo.replace("/", "--")}`);
const filesOf = (path: string): string[] =>
  readdirSync(path, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();
/** The trouble, for the first `times` requests for a file of that ending. */
const once = (ending: string, trouble: Trouble, times = 1): void => {
  hub.trouble = ({ path, storage }) => (path.endsWith(ending) && storage && times-- > 0 ? trouble : null);
};
/** Where the requests for a large file began, with a range or without. */
const starts = (ending: string): number[] =>
  hub.asked
    .filter((asked) => asked.storage && asked.path.endsWith(ending))
    .map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? "bytes=0-")?.[1]));
const one = ({ stderr }: Outcome): string => stderr.trim().split("\n").at(-1) ?? "";

const opened = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

test("a repository's model comes into the hub's layout, and --model finds it without the network", async () => {
  const { code, stdout, stderr } = await pull("tiny/folder", "--json", at("pull.jsonl"));
  assert.is(code, 0, stderr);
  const commit = hub.commit("tiny/folder");
  const snapshot = join(repoFolder("tiny/folder"), "snapshots", commit);
  assert.is(stdout, `${snapshot}\n`);
  assert.match(stderr, /tiny\/folder: 4 file\(s\), 0\.3 MiB, 0\.3 MiB of it to download; .* free in /);
  assert.is(readFileSync(join(repoFolder("tiny/folder"), "refs/main"), "utf8"), commit);
  assert.equal(readdirSync(snapshot).sort(), opened);
  for (const name of opened) {
    assert.is(readlinkSync(join(snapshot, name)), `../../blobs/${hub.etag("tiny/folder", name)}`);
    assert.equal(readFileSync(join(snapshot, name)), hub.bytes("tiny/folder", name));
  }
  assert.is(readdirSync(join(repoFolder("tiny/folder"), "blobs")).length, opened.length);
  const [record] = jsonLines(readFileSync(at("pull.jsonl"), "utf8"));
  assert.equal([record?.["path"], record?.["commit"]], [snapshot, commit]);

  hub.asked.length = 0;
  const again = await pull("tiny/folder");
  assert.match(again.stderr, /0\.0 MiB of it to download.*all of it is there: --model tiny\/folder\n/s);
  assert.not.ok(hub.asked.some(({ path }) => path.includes("resolve")));

  process.env["HF_HUB_OFFLINE"] = "1";
  hub.asked.length = 0;
  const read = await templora([
    ...["ppl", book, "--model", "tiny/folder", "--device", "cpu", "--threads", "1", "--no-templora"],
    ...["--chunk", "32", "--window", "32", "--max-tokens", "64", "--quiet"],
  ]);
  assert.is(read.code, 0, read.stderr);
  assert.is((await pull("tiny/folder")).stdout, stdout);
  assert.equal(hub.asked, []);
});

test("a model in several files: those that its index names, whatever else is there", async () => {
  writeFileSync(at("hub/tiny/parts/consolidated.safetensors"), "the same weights once more");
  const { code, stdout, stderr } = await pull("tiny/parts");
  assert.is(code, 0, stderr);
  assert.equal(readdirSync(stdout.trim()).sort(), [
    ...["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ...["model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"],
  ]);
});

test("GGUF: by file or quantisation; several and none are listed with their sizes", async () => {
  const snapshot = join(repoFolder("tiny/gguf"), "snapshots", hub.commit("tiny/gguf"));
  for (const name of ["m-Q4_0.gguf", "Q4_0", "q4_0"])
    assert.is((await pull(`tiny/gguf:${name}`)).stdout, `${join(snapshot, "m-Q4_0.gguf")}\n`);
  assert.equal(filesOf(snapshot), ["m-Q4_0.gguf"]);
  const first = "sub/M.q4_k_m-00001-of-00002.gguf";
  assert.is((await pull(`tiny/gguf:${first}`)).stdout, `${join(snapshot, first)}\n`);
  assert.equal(filesOf(snapshot), ["m-Q4_0.gguf", first, "sub/M.q4_k_m-00002-of-00002.gguf"]);
  const refused = async (name: string, says: RegExp): Promise<void> => {
    const { code, stderr, stdout } = await pull(name);
    assert.match(stderr, says);
    assert.equal([code, stdout, stderr.split("\n").length], [2, "", 2]);
  };
  const models = /"m-Q4_0\.gguf" \(0\.1 MiB\), "m-Q4_K_M\.gguf" \(0\.1 MiB\), "sub\/M\.q4_k_m-00001-of/
    .source;
  await refused("tiny/gguf", new RegExp(`several models; name one after a colon .*: ${models}`));
  await refused("tiny/gguf:Q4_K_M", /several models with "Q4_K_M" in their names.*"m-Q4_K_M.gguf".*"sub\/M/);
  await refused("tiny/gguf:Q4_K", new RegExp(`no \\.gguf file "Q4_K", .*there are ${models}`));
  await refused("tiny/folder:Q8_0", /no \.gguf file "Q8_0", .*leave out :Q8_0/);
  mkdirSync(at("hub/tiny/pickle"), { recursive: true });
  writeFileSync(at("hub/tiny/pickle/pytorch_model.bin"), "");
  await refused(
    "tiny/pickle",
    /it has no config\.json, no tokenizer\.json, no model\.safetensors, and no \.gguf file/,
  );
  await refused("tiny/../x", /expected ORG\/NAME/);
});

test("a family that templora does not run is refused before its weights come", async () => {
  cpSync(at("hub/tiny/folder"), at("hub/tiny/bert"), { recursive: true });
  writeFileSync(at("hub/tiny/bert/config.json"), JSON.stringify({ model_type: "bert" }));
  const { code, stderr } = await pull("tiny/bert");
  assert.match(stderr, /model_type is "bert"; templora runs llama/);
  assert.is(code, 2);
  assert.equal(starts("safetensors"), []);
});

test("a cut connection goes on where it ended, also where the server knows no ranges", async () => {
  once("model.safetensors", { cutAfter: 100_000 }, 2);
  const { code, stdout, stderr } = await pull("tiny/folder");
  assert.is(code, 0, stderr);
  assert.match(stderr, /model\.safetensors: the connection was cut; once more in 0\.5 s/);
  // of what was on its way at the cut, not all came
  const [first, second = 0, third = 0, ...more] = starts("model.safetensors");
  assert.ok(first === 0 && second > 0 && second <= 100_000 && third > second && third <= second + 100_000);
  assert.equal(more, []);
  const whole = hub.bytes("tiny/folder", "model.safetensors");
  assert.equal(readFileSync(join(stdout.trim(), "model.safetensors")), whole);

  rmSync(cache, { recursive: true });
  let n = 0;
  hub.trouble = ({ path, storage }) =>
    path.endsWith(".safetensors") && storage
      ? { ignoresRange: true, ...(n++ === 0 && { cutAfter: 100_000 }) }
      : null;
  const other = await pull("tiny/folder");
  assert.equal(readFileSync(join(other.stdout.trim(), "model.safetensors")), whole);
});

test("a connection that is cut again and again ends the pull, which the next one continues", async () => {
  once("model.safetensors", { cutAfter: 100_000 });
  hub.trouble = (
    (before) => (asked) =>
      before(asked) ?? (asked.storage ? { cutAfter: 0 } : null)
  )(hub.trouble);
  const failed = await pull("tiny/folder");
  assert.is(failed.code, 1);
  assert.match(
    failed.stderr,
    /0\.1 MiB of 0\.3 MiB are here and kept: the same command goes on from there\n/,
  );
  assert.match(one(failed), /model\.safetensors: the connection was cut, 4 times in a row; try again later/);
  assert.not.ok(existsSync(join(repoFolder("tiny/folder"), "refs/main")));
  hub.trouble = ({ storage }) => (storage ? { status: 204 } : null);
  assert.match(
    one(await pull("tiny/folder")),
    /model\.safetensors: the connection was cut, 4 times in a row/,
  );
  hub.asked.length = 0;
  hub.trouble = () => null;
  assert.is((await pull("tiny/folder")).code, 0);
  const [start = 0, ...more] = starts("model.safetensors");
  assert.ok(start > 0 && start <= 100_000 && more.length === 0);
});

test("Ctrl-C keeps what is there, and says so", async () => {
  once("model.safetensors", { cutAfter: 100_000, hangs: true });
  const part = join(
    repoFolder("tiny/folder"),
    "blobs",
    `${hub.etag("tiny/folder", "model.safetensors")}.incomplete`,
  );
  let waiting: NodeJS.Timeout | undefined;
  const stopped = await templora(["pull", "tiny/folder"], {
    terminal: true,
    onError: (_, stop) => {
      waiting ??= setInterval(() => existsSync(part) && statSync(part).size === 100_000 && stop(), 20);
    },
  });
  clearInterval(waiting);
  assert.is(stopped.code, 130);
  assert.match(stopped.stderr, /tiny\/folder  █*░+  0\.0 MiB of 0\.3 MiB/);
  assert.match(
    stopped.stderr,
    /0\.1 MiB of 0\.3 MiB are here and kept: the same command goes on from there\n$/,
  );
  hub.trouble = () => null;
  assert.is((await pull("tiny/folder")).code, 0);
  assert.equal(starts("model.safetensors"), [0, 100_000]);
});

test("progress: after a second, the rate and the time left, of the bytes that came now", async () => {
  let shown = "";
  const stderr = { isTTY: true, columns: 100, write: (text: string) => (shown = text) };
  const io = { stdin: (async function* () {})(), stdout: stderr, stderr, env: {}, stop: () => undefined };
  const terminal = new Terminal(
    { ...io, signal: new AbortController().signal },
    { quiet: false, jsonOnStdout: false },
  );
  const progress = new DownloadProgress(terminal, "model", 400 * 2 ** 20, 300 * 2 ** 20);
  progress.add(2 ** 20);
  assert.match(shown, /model {2}█{23}░{7} {2}301 MiB of 400 MiB$/);
  await setTimeout(1100);
  progress.add(49 * 2 ** 20);
  assert.match(shown, /350 MiB of 400 MiB, 4\d MiB\/s, 0:01 left$/);
});

test("two at once", async () => {
  const both = await Promise.all([pull("tiny/folder"), pull("tiny/folder")]);
  for (const { code, stderr } of both) assert.is(code, 0, stderr);
  const blobs = readdirSync(join(repoFolder("tiny/folder"), "blobs"));
  assert.equal(blobs.sort(), opened.map((name) => hub.etag("tiny/folder", name)).sort());
});

test("a wrong checksum: no file gets its name; a damaged beginning is downloaded anew by itself", async () => {
  for (const [repo, file] of [
    ["tiny/folder", "tokenizer.json"],
    ["tiny/gguf:Q4_0", "m-Q4_0.gguf"],
  ] as const) {
    hub.trouble = ({ path }) => (path.endsWith(file) ? { damaged: true } : null);
    const wrong = await pull(repo);
    assert.match(one(wrong), new RegExp(`${file} came with a wrong checksum and is thrown away; pull again`));
    assert.is(wrong.code, 1);
    assert.not.match(wrong.stderr, /0\.[13] MiB of 0\.\d MiB are here/);
  }
  const etag = hub.etag("tiny/gguf", "m-Q4_0.gguf");
  const blob = join(repoFolder("tiny/gguf"), "blobs", etag);
  assert.not.ok(existsSync(blob) || existsSync(`${blob}.incomplete`));
  hub.trouble = () => null;
  for (const length of [100, hub.bytes("tiny/gguf", "m-Q4_0.gguf").length, 1e6]) {
    rmSync(blob, { force: true });
    writeFileSync(`${blob}.incomplete`, Buffer.alloc(length));
    const { code, stdout } = await pull("tiny/gguf:Q4_0");
    assert.is(code, 0);
    assert.equal(readFileSync(stdout.trim()), hub.bytes("tiny/gguf", "m-Q4_0.gguf"));
  }
});

test("an older model stays in use until the newer one is whole", async () => {
  cpSync(at("hub/tiny/folder"), at("hub/tiny/changing"), { recursive: true });
  const old = (await pull("tiny/changing")).stdout;
  writeFileSync(at("hub/tiny/changing/model.safetensors"), hub.bytes("tiny/folder", "golden.safetensors"));
  hub.trouble = ({ storage }) => (storage ? { damaged: true } : null);
  assert.is((await pull("tiny/changing")).code, 1);
  const offline = async (): Promise<string> => {
    process.env["HF_HUB_OFFLINE"] = "1";
    return (await pull("tiny/changing")).stdout;
  };
  assert.is(await offline(), old);
  Reflect.deleteProperty(process.env, "HF_HUB_OFFLINE");
  hub.trouble = () => null;
  const { stdout: newer } = await pull("tiny/changing");
  assert.is.not(newer, old);
  assert.is(await offline(), newer);
  // and whoever sets the reference back has the older one
  writeFileSync(join(repoFolder("tiny/changing"), "refs/main"), basename(old.trim()));
  assert.is(await offline(), old);
});

/** What the hub answers, and what the user reads. */
const refusals: readonly (readonly [Trouble, token: string, code: number, says: RegExp])[] = [
  [{ status: 401 }, "", 2, /tiny\/folder: .* has no such repository, or it is private: .* set HF_TOKEN/],
  [{ status: 401 }, "hf_old", 2, /tiny\/folder: .* refuses the token of HF_TOKEN \(HTTP 401\)/],
  [{ status: 404 }, "hf_x", 2, /no such repository, or it is private: .* the account of HF_TOKEN/],
  [
    { status: 401, headers: { "x-error-code": "GatedRepo" } },
    "",
    2,
    /tiny\/folder is gated: accept its terms at http.*\/tiny\/folder, then set HF_TOKEN/,
  ],
  [
    { status: 403, headers: { "x-error-code": "GatedRepo" } },
    "hf_x",
    2,
    /gated, .* HF_TOKEN has no access yet/,
  ],
  [{ status: 429, headers: { "retry-after": "3600" } }, "", 1, /\(HTTP 429\), and asks to wait 1:00:00; try/],
  [{ status: 503 }, "", 1, /is in trouble \(HTTP 503\), 4 times in a row; try again later/],
  [{ status: 410, headers: { "x-error-message": "Gone" } }, "", 1, /HTTP 410 \("Gone"\)/],
  [{ status: 200, body: "<html>" }, "", 1, /does not answer as a hub does .*is HF_ENDPOINT right\?/],
  [{ status: 200, body: "{}" }, "", 1, /does not answer as a hub does/],
];
for (const [trouble, token, code, says] of refusals)
  test(`one clear line: ${says.source}`, async () => {
    process.env["HF_TOKEN"] = token;
    hub.trouble = () => trouble;
    const refused = await pull("tiny/folder");
    assert.match(one(refused), says);
    assert.is(refused.code, code);
    assert.is(refused.stdout, "");
    assert.is(hub.asked.length, trouble.status === 503 ? 4 : 1);
  });

test("a storage that refuses is told from a hub that does", async () => {
  once("model.safetensors", { status: 403 }, 9);
  const { code, stderr } = await pull("tiny/folder");
  assert.match(stderr, /tiny\/folder: .*refuses|HTTP 403/);
  assert.is(code, 1);
});

test("busy and troubled servers are asked again, after the pause that they name", async () => {
  const answers: Trouble[] = [
    { status: 429, headers: { "retry-after": "0" } },
    { status: 502, headers: { "retry-after": new Date().toUTCString() } },
  ];
  hub.trouble = () => answers.shift() ?? null;
  const { code, stderr } = await pull("tiny/folder");
  assert.is(code, 0);
  assert.match(stderr, /takes no more requests for now \(HTTP 429\); once more in 0 s/);
});

test("no hub at the address, and addresses that are none", async () => {
  process.env["HF_ENDPOINT"] = "http://127.0.0.1:2/";
  assert.match(one(await pull("tiny/folder")), /127\.0\.0\.1:2 cannot be reached \(\w+\), 4 times in a row/);
  process.env["HF_ENDPOINT"] = "nowhere";
  assert.match(one(await pull("tiny/folder")), /HF_ENDPOINT=nowhere: expected an address/);
  process.env["HF_ENDPOINT"] = "https://me:secret@127.0.0.1:2";
  const said = one(await pull("tiny/folder"));
  assert.match(said, /HF_ENDPOINT: an address with a name and password in it/);
  assert.not.match(said, "secret");
});

test("the token, of HF_TOKEN or of a file, goes to the hub and not to its storage", async () => {
  process.env["HF_TOKEN_PATH"] = at("token");
  hub.pagesElsewhere = true;
  writeFileSync(at("token"), "hf_of_file\n");
  for (const token of ["hf_of_file", "any-other"]) {
    rmSync(cache, { recursive: true, force: true });
    hub.asked.length = 0;
    if (token === "any-other") process.env["HF_TOKEN"] = token;
    assert.is((await pull("tiny/folder")).code, 0);
    const sent = (storage: boolean): Set<string | undefined> =>
      new Set(
        hub.asked.filter((asked) => asked.storage === storage).map(({ authorization }) => authorization),
      );
    assert.equal([sent(false), sent(true)], [new Set([`Bearer ${token}`]), new Set([undefined])]);
  }
  hub.pagesElsewhere = false;
  process.env["HF_TOKEN"] = "two words";
  assert.match(one(await pull("tiny/folder")), /HF_TOKEN: this is no token/);
});

test("names, sizes and checksums that the hub lists are checked before anything is written", async () => {
  const entry = { type: "file", path: "m.gguf", size: 10, oid: "0".repeat(40) };
  const paths = [
    ...["../m.gguf", "/m.gguf", "a/../../m.gguf", "a\\m.gguf", "C:m.gguf", "a//m.gguf", "a\nm.gguf"],
    ...["a\u009b2J.gguf", `${"a/".repeat(200)}m.gguf`],
  ].map((path): object => ({ path }));
  const others = [{ size: -1 }, { size: "1" }, { oid: "../../../m" }, { oid: undefined }, { path: 7 }];
  for (const wrong of [...paths, ...others]) {
    hub.listing = () => [{ ...entry, ...wrong }];
    const { code, stderr } = await pull("tiny/gguf");
    assert.match(stderr, /could leave the cache folder; nothing is downloaded|without its size or checksum/);
    assert.is(code, 2);
  }
  assert.not.ok(existsSync(at("home")));
  hub.listing = () => [{ ...entry, size: 2 ** 50 }];
  const large = await pull("tiny/gguf");
  assert.match(one(large), /are free, and 1048576\.00 GiB are to be downloaded; .*templora models --remove/);
  assert.is(large.code, 1);
});

if (process.platform === "linux")
  test("a full disk", async () => {
    const blobs = join(repoFolder("tiny/gguf"), "blobs");
    mkdirSync(blobs, { recursive: true });
    symlinkSync("/dev/full", join(blobs, `${hub.etag("tiny/gguf", "m-Q4_0.gguf")}.incomplete`));
    const full = await pull("tiny/gguf:Q4_0");
    assert.match(one(full), /^templora: .*hub: no space left to write it$/);
    assert.is(full.code, 1);
  });

test("--model names what is not in the cache: the command that pulls it, and a question on a terminal", async () => {
  const argv = (model: string): string[] => [
    ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "2", "--no-templora", "--model", model],
    ...["--device", "cpu", "--threads", "1", "--window", "32", "--chunk", "32"],
  ];
  const missing = await templora(argv("tiny/folder"));
  assert.match(
    missing.stderr,
    /no such file or folder here, .*hub's cache.*; templora pull tiny\/folder downloads it\n$/,
  );
  assert.is(missing.code, 2);
  assert.equal(hub.asked, []);

  const asking = async (answer: string): Promise<Outcome> => {
    let [stdout, stderr] = ["", ""];
    async function* stdin(): AsyncGenerator<string> {
      yield await Promise.resolve(answer.slice(0, 1));
      yield answer.slice(1);
      yield await new Promise<string>(() => undefined); // a terminal stays open
    }
    const code = await run(argv("tiny/folder"), {
      stdin: Object.assign(stdin(), { isTTY: true }),
      stdout: { write: (text) => (stdout += text) },
      stderr: { isTTY: true, write: (text) => (stderr += text) },
      ...{ env: {}, signal: new AbortController().signal, stop: () => undefined },
    });
    return { code, stdout, stderr };
  };
  const no = await asking("\n");
  assert.match(no.stderr, /0\.3 MiB of it to download.*pull it now\? \[y\/N\] .*templora pull tiny\/folder/s);
  assert.is(no.code, 2);
  assert.not.ok(hub.asked.some(({ path }) => path.includes("resolve")));
  const yes = await asking("y\n");
  assert.is(yes.code, 0, yes.stderr);
  assert.ok(yes.stdout.length > 0);
});

test("what Python pulled by a commit, without refs/, is found; a link without its bytes is not", async () => {
  const { stdout } = await pull("tiny/folder");
  rmSync(join(repoFolder("tiny/folder"), "refs"), { recursive: true });
  process.env["HF_HUB_OFFLINE"] = "1";
  assert.is((await pull("tiny/folder")).stdout, stdout);
  rmSync(join(repoFolder("tiny/folder"), "blobs", hub.etag("tiny/folder", "model.safetensors")));
  assert.match((await pull("tiny/folder")).stderr, /not in the cache .*HF_HUB_OFFLINE is set/);
});

test("models: lists what is there with its family and end tokens, and removes one file or all", async () => {
  const list = async (): Promise<Record<string, unknown>[]> => {
    const { code, stdout } = await templora(["models", "--json", "-", "--quiet"]);
    assert.is(code, 0);
    return stdout === "" ? [] : jsonLines(stdout);
  };
  assert.equal(await list(), []);
  assert.match((await templora(["models"])).stdout, /no model in .*; templora pull fetches one/);
  for (const name of ["tiny/folder", "tiny/gguf:m-Q4_0.gguf", "tiny/gguf:m-Q4_K_M.gguf"]) await pull(name);
  cpSync(repoFolder("tiny/folder"), repoFolder("other/damaged"), { recursive: true, verbatimSymlinks: true });
  writeFileSync(join(repoFolder("other/damaged"), "blobs", hub.etag("tiny/folder", "model.safetensors")), "");
  mkdirSync(join(repoFolder("other/empty"), "snapshots"), { recursive: true });
  const circle = join(repoFolder("other/empty"), "../circle");
  symlinkSync("circle", circle); // nothing that can be looked at
  mkdirSync(join(circle, "../models--tiny--\u001b[31m/snapshots"), { recursive: true });
  const found = await list();
  assert.equal(
    found.map(({ name, family, end_tokens }) => [name, family, end_tokens]),
    [
      ["other/damaged", undefined, undefined],
      ["other/empty", undefined, undefined],
      ["tiny/folder", "llama", ["<|eos|>"]],
      ["tiny/gguf:m-Q4_0.gguf", "llama", found[3]?.["end_tokens"]],
      ["tiny/gguf:m-Q4_K_M.gguf", "llama", found[4]?.["end_tokens"]],
    ],
  );
  assert.match(String(found[0]?.["error"]), /model\.safetensors: 0 bytes are too few/);
  const shown = (await templora(["models"])).stdout;
  rmSync(circle);
  assert.match(shown, /^model +size +family +ends with\ntiny\/folder +0\.3 MiB +llama +<\|eos\|>\n/);
  assert.match(
    shown,
    /\nnot opened:\nother\/damaged \(0\.0 MiB\): .*\nother\/empty .*: no model that templora opens, or not all of it\n$/,
  );

  const remove = (name: string): Promise<Outcome> => templora(["models", "--remove", name]);
  assert.match((await remove("tiny/folders")).stderr, /no such model \(did you mean tiny\/folder\?\)/);
  assert.is((await remove("tiny/gguf:Q8_0")).code, 2);
  // Both files have the same bytes: only the link goes.
  assert.match((await remove("tiny/gguf:Q4_0")).stdout, /^tiny\/gguf:Q4_0: removed, 0\.0 MiB freed\n$/);
  assert.is(readdirSync(join(repoFolder("tiny/gguf"), "blobs")).length, 1);
  await remove("tiny/gguf:m-Q4_K_M.gguf");
  assert.not.ok(existsSync(repoFolder("tiny/gguf")));
  assert.match((await remove("tiny/folder")).stdout, /removed, 0\.3 MiB freed/);
  const left = readdirSync(cache).filter((name) => name.startsWith("models--other"));
  assert.equal(left.sort(), ["models--other--damaged", "models--other--empty"]);
  assert.not.ok(existsSync(repoFolder("tiny/folder")));
});

test.run();
