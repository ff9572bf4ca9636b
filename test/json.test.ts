/** JSON in parts is what JSON.parse makes of the whole, or is refused where that refuses it. */
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../engine/turns.ts";
import { parseJson } from "../model/json.ts";

const test = suite("json");

/** The value, as text that shows the order of keys and entries of the key __proto__; or that it is refused. */
function outcome(parse: () => unknown): string {
  try {
    return JSON.stringify(parse());
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return "refused";
  }
}

const same = (text: string, part: number): void =>
  assert.is(
    outcome(() => atOnce(parseJson(text, part))),
    outcome(() => JSON.parse(text) as unknown),
    `${JSON.stringify(text)} in parts of ${part}`,
  );

const texts = fc
  .tuple(fc.jsonValue({ maxDepth: 5, noUnicodeString: false }), fc.constantFrom(undefined, " ", "\r\n\t"))
  .map(([value, space]) => JSON.stringify(value, null, space));

test("any value, in parts of any length", () => {
  fc.assert(fc.property(texts, fc.nat(40), same), { numRuns: 3000 });
});

test("any value with one change", () => {
  const insertions = fc.constantFrom(
    "",
    ",",
    '"',
    "\\",
    "[",
    "]",
    "{",
    "}",
    ":",
    " ",
    "0",
    "\u00a0",
    "\ufeff",
  );
  fc.assert(
    fc.property(texts, fc.nat(), insertions, fc.nat(1), fc.nat(40), (text, where, insertion, gone, part) => {
      const place = where % (text.length + 1);
      same(text.slice(0, place) + insertion + text.slice(place + gone), part);
    }),
    { numRuns: 5000 },
  );
});

test("keys and strings that are easily lost", () => {
  for (const text of [
    '{"a":[1,2,3],"__proto__":{"x":[4,5,6]},"__proto__":[7,8,9]}',
    '["\ufeffa","\ufeff","\\ufeff","b\ufeff"]',
    '{"a":1,"b":2,"a":3}',
    '{"2":1,"1":[2,3,4,5],"a":{}}',
    '["\\\\","\\"","\\\\\\"]"]',
    "[1,2,3,]",
    "[,1,2]",
    "[ ]",
    "{\n\t}",
    "[  1 , { } , [ ] ]",
    "[1,2}",
    '{"a":1,"b":[2,3,4,5}',
    '{"a" [1,2,3,4]}',
    "[[1,2,3,4] 5]",
    "[[1,2,3,4]] 5",
    '[[1,2,3,4],"',
    "\ufeff[1,2]",
    "",
  ])
    for (let part = 0; part < 12; part++) same(text, part);
});

test("a string or a space that would keep the event loop waiting is refused, where the text is cut", () => {
  const most = 2 ** 22;
  for (const [text, fits] of [
    [`["${"x".repeat(most - 100)}"]`, true],
    [`["${"x".repeat(most)}"]`, false],
    [`["${'\\"'.repeat(most)}"]`, false],
    [`{"${"x".repeat(most)}": 1}`, false],
    [`[1,${" ".repeat(most)} 2]`, false],
    [`[1, "${"x".repeat(3 * most)}`, false],
  ] as const)
    assert.is(outcome(() => atOnce(parseJson(text))) === "refused", !fits, text.slice(0, 20));
});

test("the parts are parsed in steps, of which each is short", () => {
  const list = Array.from({ length: 20_000 }, (_, i) => i);
  const text = JSON.stringify({ model: { merges: list }, more: list });
  const parsing = parseJson(text);
  let [step, steps] = [parsing.next(), 0];
  for (; step.done !== true; step = parsing.next()) steps++;
  assert.equal(step.value, JSON.parse(text));
  assert.ok(steps > 20_000, `${steps}`);
});

test.run();
